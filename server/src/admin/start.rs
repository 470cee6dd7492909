//! From settings to a running [`App`].

use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::sync::Semaphore;

use super::Failure;
use super::open::{Opened, open};
use crate::accounts::{PasswordHasher, Providers};
use crate::alerts::Alerts;
use crate::app::{App, Parts};
use crate::audit::{self, ChainKey};
use crate::background::Background;
use crate::backup;
use crate::bus::Bus;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::{Config, MailSettings};
use crate::data_dir::DataDir;
use crate::delivery::{Attached, Watchers};
use crate::http::Identity;
use crate::limits::Counters;
use crate::mail::{Mailer, Route};
use crate::metrics::Metrics;
use crate::sessions::{KeyRing, SeenSessions, SigningKeys, VerifiedTokens};
use crate::stop::Stop;
use crate::store::uuid_v7;
use crate::vault::server_keys::{Keeper, ServerKeys};

/// What only a listening server knows of itself.
#[derive(Default)]
pub(super) struct Reachable {
    pub(super) public_urls: Vec<String>,
    pub(super) identity: Option<Identity>,
    pub(super) alerts: Alerts,
}

/// Opens everything that the data folder and the database hold; the first start makes it.
pub(super) async fn start(
    mut config: Config,
    data_dir: &DataDir,
    reachable: Reachable,
    stop: Stop,
) -> Result<App, Failure> {
    let Opened {
        store,
        clock,
        arena,
        master_key,
        instance,
    } = open(&config, data_dir).await?;
    let mut rng = UnwrapErr(SysRng);
    let now = clock.now();
    let keeper = Keeper {
        store: &store,
        master_key: &master_key,
        arena: &arena,
        now,
    };
    let signing_keys = SigningKeys::load(&keeper, &config.tokens.algorithm, &mut rng).await?;
    let server_keys = ServerKeys::load(&keeper, &mut rng).await?;
    let audit_key = ChainKey::load(&keeper, &mut rng).await?;
    let cache = config.cache.take();
    let cache = cache.map(|source| Cache::new(source, instance));
    let background = Background::new();
    let mailer = mailer(&config.mail, data_dir, &clock, &background)?;
    let hasher = PasswordHasher::start(config.passwords.cost)?;
    let providers = Providers::new(&config.providers)?;
    begin_audit(App::new(Parts {
        store,
        clock,
        config,
        arena,
        master_key,
        server_keys,
        attached: Attached::new(),
        watchers: Watchers::new(),
        bus: Bus::new(uuid_v7(now, &mut rng)),
        counters: Counters::new(cache.clone()),
        cache,
        background,
        mailer,
        hasher,
        audit_key,
        verifying: Semaphore::new(1),
        providers,
        signing_keys: KeyRing::new(signing_keys),
        verified_tokens: VerifiedTokens::new(),
        seen_sessions: SeenSessions::default(),
        instance,
        public_urls: reachable.public_urls,
        identity: reachable.identity,
        metrics: Metrics::new(),
        alerts: reachable.alerts,
        stop,
    }))
    .await
}

/// A database from before there was a chain of events gets one.
async fn begin_audit(app: App) -> Result<App, Failure> {
    audit::adopt(&app).await?;
    backup::settle_epoch(&app).await?;
    Ok(app)
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
