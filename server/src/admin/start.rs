//! From settings to a running [`App`].

use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::Failure;
use super::open::{Opened, connect_current, connect_used, open};
use super::serve::public_urls;
use crate::accounts::{PasswordHasher, Providers};
use crate::app::{App, Parts};
use crate::audit::{Anchors, ChainKey};
use crate::background::Background;
use crate::backup;
use crate::bus::Bus;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::{Algorithm, Config, MailSettings};
use crate::data_dir::DataDir;
use crate::delivery::{Attached, Watchers};
use crate::http::Identity;
use crate::limits::Counters;
use crate::mail::{Mailer, Route};
use crate::metrics::Metrics;
use crate::sessions::{KeyRing, SeenSessions, SigningKeys, VerifiedTokens};
use crate::stop::{self, Stop, Stopper};
use crate::store::uuid_v7;
use crate::vault::server_keys::{Keeper, ServerKeys};

/// What only a listening server knows of itself.
pub(super) struct Reachable {
    pub(super) public_urls: Vec<String>,
    pub(super) identity: Option<Identity>,
}

/// The server's own keys.
struct Keys {
    signing: SigningKeys,
    pairs: ServerKeys,
    audit: ChainKey,
}

impl Reachable {
    /// What a command knows, which listens nowhere.
    fn unheard(config: &Config) -> Self {
        Self {
            public_urls: public_urls(config, config.listen),
            identity: None,
        }
    }
}

/// Opens everything that the data folder and the database hold; the first start makes it.
pub(super) async fn start(
    config: Config,
    data_dir: &DataDir,
    reachable: Reachable,
    stop: Stop,
) -> Result<App, Failure> {
    let app = Box::pin(assemble(config, data_dir, reachable, stop)).await?;
    backup::settle_epoch(&app).await?;
    Ok(app)
}

async fn assemble(
    config: Config,
    data_dir: &DataDir,
    reachable: Reachable,
    stop: Stop,
) -> Result<App, Failure> {
    let opened = open(&config, data_dir).await?;
    let keys = Keys::load(&opened, data_dir, &config.tokens.algorithm).await?;
    let cache = cache(&config, opened.instance);
    let background = Background::new();
    let mailer = mailer(&config.mail, data_dir, &opened.clock, &background)?;
    let server = uuid_v7(opened.clock.now(), &mut UnwrapErr(SysRng));
    Ok(App::new(Parts {
        attached: Attached::new(),
        watchers: Watchers::default(),
        bus: Bus::new(server),
        counters: Counters::new(cache.clone()),
        cache,
        background,
        mailer,
        hasher: PasswordHasher::start(config.passwords.cost)?,
        server_keys: keys.pairs,
        audit_key: keys.audit,
        verifying: Semaphore::new(1),
        providers: Providers::new(&config.providers)?,
        signing_keys: KeyRing::new(keys.signing),
        verified_tokens: VerifiedTokens::new(),
        seen_sessions: SeenSessions::default(),
        public_urls: reachable.public_urls,
        identity: reachable.identity,
        metrics: Metrics::new(opened.store.durations()),
        stop,
        config,
        store: opened.store,
        clock: opened.clock,
        arena: opened.arena,
        master_key: opened.master_key,
        instance: opened.instance,
    }))
}

/// The same for a command. It keeps the stopper until it is done.
pub(super) async fn begin(config: Config) -> Result<(App, Stopper), Failure> {
    let data_dir = DataDir::prepare(&config.data_dir)?;
    let (stopper, stop) = stop::channel();
    let reachable = Reachable::unheard(&config);
    let app = Box::pin(start(config, &data_dir, reachable, stop)).await?;
    Ok((app, stopper))
}

/// The same for a command that looks after what is there.
pub(super) async fn reopen(config: Config) -> Result<(App, Stopper), Failure> {
    refuse_behind(&config).await?;
    begin(config).await
}

/// The same for a command that only looks: nothing is shut out, and the epoch stays.
pub(super) async fn reopen_to_look(config: Config) -> Result<(App, Stopper), Failure> {
    refuse_unmade(&config).await?;
    let data_dir = DataDir::existing(&config.data_dir)?;
    let (stopper, stop) = stop::channel();
    let reachable = Reachable::unheard(&config);
    let app = Box::pin(assemble(config, &data_dir, reachable, stop)).await?;
    Ok((app, stopper))
}

/// What a start would make has to be there.
async fn refuse_unmade(config: &Config) -> Result<(), Failure> {
    let (store, _schema) = connect_current(config).await?;
    let now = Clock::system().now();
    let signs = match config.tokens.algorithm {
        Algorithm::Hs256(_) => true,
        Algorithm::EdDsa => {
            let keys = store.signing_keys(now).await?;
            keys.iter().any(|key| key.status == "current")
        }
    };
    let has_keys = !store.server_key_ids(now).await?.is_empty();
    let made = signs && has_keys && store.audit_key().await?.is_some();
    store.close().await;
    match made {
        true => Ok(()),
        false => Err(UNMADE.into()),
    }
}

async fn refuse_behind(config: &Config) -> Result<(), Failure> {
    let (store, _schema) = connect_current(config).await?;
    store.close().await;
    Ok(())
}

/// Where there is nothing, the settings lead astray. What would be made there is not what was meant,
/// and its keys would take the place of others in the data folder.
pub(super) async fn refuse_unused(config: &Config) -> Result<(), Failure> {
    let (store, _schema) = connect_used(config).await?;
    store.close().await;
    Ok(())
}

impl Keys {
    async fn load(
        opened: &Opened,
        data_dir: &DataDir,
        algorithm: &Algorithm,
    ) -> Result<Self, Failure> {
        let mut rng = UnwrapErr(SysRng);
        let keeper = Keeper {
            store: &opened.store,
            master_key: &opened.master_key,
            arena: &opened.arena,
            now: opened.clock.now(),
        };
        Ok(Self {
            signing: SigningKeys::load(&keeper, algorithm, &mut rng).await?,
            pairs: ServerKeys::load(&keeper, &mut rng).await?,
            audit: ChainKey::load(&keeper, Anchors::unlinked(data_dir), &mut rng).await?,
        })
    }
}

fn cache(config: &Config, instance: Uuid) -> Option<Cache> {
    let source = config.cache.clone();
    source.map(|source| Cache::new(source, instance))
}

fn mailer(
    settings: &MailSettings,
    data_dir: &DataDir,
    clock: &Clock,
    background: &Background,
) -> Result<Mailer, Failure> {
    let route = match &settings.smtp {
        Some(smtp) => Route::smtp(smtp)?,
        None => Route::outbox(data_dir)?,
    };
    let from = settings.from.clone();
    Ok(Mailer::new(from, route, clock.clone(), background.clone()))
}

const UNMADE: &str = "no server has started with these settings, and even a look would make its \
    keys: give those that the server has, or start it once";
