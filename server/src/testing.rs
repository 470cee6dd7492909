//! A server in memory, for the tests beside the code.

mod recipient;

use getrandom::SysRng;
use keyferry_protocol::memory::{self, Arena};
use rand_core::UnwrapErr;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

pub(crate) use recipient::Recipient;

use crate::accounts::{self, PasswordHasher, Providers};
use crate::app::{App, Parts};
use crate::audit::{ChainKey, Unlinked};
use crate::background::Background;
use crate::bus::Bus;
use crate::clock::{Clock, Hands};
use crate::config::Config;
use crate::delivery::{Attached, Watchers};
use crate::limits::Counters;
use crate::mail::{Mailer, Route};
use crate::metrics::Metrics;
use crate::sessions::{
    self, Ground, KeyRing, Member, Origin, SeenSessions, SignedIn, SigningKeys, VerifiedTokens,
    signed_in,
};
use crate::stop::{self, Stopper};
use crate::store::{Store, TenantId, UserId, sql};
use crate::vault::master_key::{self, MasterKey};
use crate::vault::server_keys::{Keeper, ServerKeys};

/// A server whose clock stands still.
pub(crate) struct Server {
    pub(crate) app: App,
    pub(crate) clock: Hands,
    /// Kept, since a server without it stops.
    pub(crate) stopper: Stopper,
}

/// Where the tests' requests come from.
pub(crate) const ORIGIN: Origin = Origin {
    request_id: Uuid::nil(),
    peer: None,
    user_agent: None,
};

impl Server {
    /// A new user with a tenant of their own, signed in.
    pub(crate) async fn user(&self, username: &str) -> SignedIn {
        let token = self.register(username).await;
        signed_in(&self.app, &ORIGIN, Some(&token)).await.unwrap()
    }

    /// A user who may only look.
    pub(crate) async fn viewer(&self, username: &str) -> SignedIn {
        const SQL: &str = "UPDATE memberships SET role = 'viewer' WHERE user_id = $1";
        let token = self.register(username).await;
        let user = signed_in(&self.app, &ORIGIN, Some(&token))
            .await
            .unwrap()
            .user_id();
        sql!(self.app.store, query(SQL, user).execute).unwrap();
        signed_in(&self.app, &ORIGIN, Some(&token)).await.unwrap()
    }

    /// A new user's access token.
    pub(crate) async fn register(&self, username: &str) -> String {
        let account = json!({ "username": username, "password": "SecurePass123!" });
        let account = serde_json::from_value(account).unwrap();
        let registered = accounts::register(&self.app, &ORIGIN, account)
            .await
            .unwrap();
        let shown = serde_json::to_value(&registered).unwrap();
        shown["access_token"].as_str().unwrap().to_owned()
    }
}

/// A new session of somebody who has just shown who they are.
pub(crate) async fn enter(app: &App, (user, tenant): (UserId, TenantId)) -> Value {
    let stored = app.store.user_by_id(user).await.unwrap().unwrap();
    let ground = Ground::Login(stored.password_changed_at);
    let tokens = sessions::start(app, &ORIGIN, Member { user, tenant }, ground).await;
    serde_json::to_value(tokens.unwrap()).unwrap()
}

/// A server on an empty database.
pub(crate) async fn server() -> Server {
    server_with(Config::for_tests()).await
}

fn keeping_mailer(config: &Config, clock: &Clock, background: &Background) -> Mailer {
    let route = Route::Kept(Vec::new().into());
    let from = config.mail.from.clone();
    Mailer::new(from, route, clock.clone(), background.clone())
}

/// A server with these settings.
pub(crate) async fn server_with(config: Config) -> Server {
    let arena = Arena::new(memory::self_test().unwrap()).unwrap();
    let master_key = master_key::for_tests(&arena);
    Box::pin(server_under(config, (arena, master_key))).await
}

/// A server with this master key.
pub(crate) async fn server_under(
    config: Config,
    (arena, master_key): (Arena, MasterKey),
) -> Server {
    let mut rng = UnwrapErr(SysRng);
    let store = Store::open_in_memory().await;
    let (clock, shown) = Hands::standing();
    let keeper = Keeper {
        store: &store,
        master_key: &master_key,
        arena: &arena,
        now: shown.now(),
    };
    let server_keys = ServerKeys::load(&keeper, &mut rng).await.unwrap();
    let audit_key = Box::pin(ChainKey::load(&keeper, Unlinked::Adopt, &mut rng));
    let audit_key = audit_key.await.unwrap();
    let signing_keys = SigningKeys::load(&keeper, &config.tokens.algorithm, &mut rng);
    let signing_keys = signing_keys.await.unwrap();
    let hasher = PasswordHasher::start(config.passwords.cost).unwrap();
    let (stopper, stop) = stop::channel();
    let background = Background::new();
    let mailer = keeping_mailer(&config, &shown, &background);
    let metrics = Metrics::new(store.durations());
    let app = App::new(Parts {
        store,
        clock: shown,
        providers: Providers::new(&config.providers).unwrap(),
        config,
        arena,
        master_key,
        server_keys,
        attached: Attached::new(),
        watchers: Watchers::default(),
        bus: Bus::new(Uuid::new_v4()),
        cache: None,
        counters: Counters::new(None),
        background,
        mailer,
        hasher,
        audit_key,
        verifying: Semaphore::new(1),
        signing_keys: KeyRing::new(signing_keys),
        verified_tokens: VerifiedTokens::new(),
        seen_sessions: SeenSessions::default(),
        instance: Uuid::new_v4(),
        public_urls: vec!["https://127.0.0.1:8443".to_owned()],
        identity: None,
        metrics,
        stop,
    });
    Server {
        app,
        clock,
        stopper,
    }
}
