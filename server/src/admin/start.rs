//! From settings to a running [`App`].

use getrandom::SysRng;
use keyferry_protocol::memory::{self, Arena};
use rand_core::UnwrapErr;

use super::Failure;
use crate::accounts::PasswordHasher;
use crate::app::{App, Parts};
use crate::background::Background;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::{Config, Database, MailSettings};
use crate::data_dir::DataDir;
use crate::delivery::Attached;
use crate::limits::Counters;
use crate::mail::{Mailer, Route};
use crate::sessions::{KeyRing, KeySource, SeenSessions, SigningKeys, VerifiedTokens};
use crate::stop::Stop;
use crate::store::{Store, uuid_v7};
use crate::vault::master_key::MasterKey;
use crate::vault::server_keys::{Keeper, ServerKeys};

/// What only a listening server knows of itself.
#[derive(Default)]
pub(super) struct Reachable {
    pub(super) public_urls: Vec<String>,
    pub(super) certificate_pin: Option<[u8; 32]>,
}

/// Opens everything that the data folder and the database hold; the first start makes it.
pub(super) async fn start(
    mut config: Config,
    data_dir: &DataDir,
    reachable: Reachable,
    stop: Stop,
) -> Result<App, Failure> {
    let clock = Clock::system();
    let mut rng = UnwrapErr(SysRng);
    let arena = Arena::new(memory::self_test()?)?;
    let configured = config.master_key.take();
    let mut master_key = MasterKey::load_or_create(data_dir.path(), configured, &arena, &mut rng)?;
    let store = match &config.database {
        Database::File(path) => Store::open_file(path).await?,
        Database::Postgres(url) => Store::open_postgres(url).await?,
    };
    let now = clock.now();
    master_key.confirm(&store, data_dir.path(), now).await?;
    let proposed = uuid_v7(now, &mut rng).to_string();
    let instance = store
        .decide_setting("instance_id", &proposed, now)
        .await?
        .parse()?;
    let source = KeySource {
        store: &store,
        master_key: &master_key,
        arena: &arena,
        now,
    };
    let signing_keys = SigningKeys::load(&source, &config.tokens.algorithm, &mut rng).await?;
    let keeper = Keeper {
        store: &store,
        master_key: &master_key,
        arena: &arena,
        now,
    };
    let server_keys = ServerKeys::load(&keeper, &mut rng).await?;
    let background = Background::new();
    let mailer = mailer(&config.mail, data_dir, &clock, &background)?;
    let hasher = PasswordHasher::start(config.passwords.cost)?;
    Ok(App::new(Parts {
        store,
        clock,
        config,
        arena,
        master_key,
        server_keys,
        attached: Attached::new(),
        bus: Bus::new(),
        counters: Counters::in_process(),
        background,
        mailer,
        hasher,
        signing_keys: KeyRing::new(signing_keys),
        verified_tokens: VerifiedTokens::new(),
        seen_sessions: SeenSessions::default(),
        instance,
        public_urls: reachable.public_urls,
        certificate_pin: reachable.certificate_pin,
        stop,
    }))
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
