//! Tells a person what happens to their keys and VMs, as it happens.
//!
//! Events only say when to look; what is told comes out of the database. A look that nothing asked
//! for, every few seconds, finds what other servers have written and no event told of.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

use super::vm::Vm;
use super::watchers::WatcherSeat;
use crate::app::App;
use crate::bus::{Event, Heard, Subscriber, Topic};
use crate::error::ApiError;
use crate::sessions::{self, Origin, SignedIn};
use crate::store::{HeldChange, SessionId, TenantId, UnixTime, VmId};

/// One thing to tell.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub(crate) enum News {
    /// Read everything that you care for: this comes first, and when news were lost.
    Reload {},
    /// Keys were stored, changed or revoked: read them again.
    Keys {},
    /// A VM was added, changed, or has connected or gone.
    Vm(Vm),
    /// A VM is no more.
    VmRemoved {
        /// Its id.
        id: VmId,
    },
    /// A VM was told of a version, or has acknowledged it.
    Held(HeldNews),
    /// Nothing, but the connection lives.
    #[serde(skip)]
    Silence,
}

/// One version of a key in a VM.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HeldNews {
    vm: VmId,
    key: String,
    version: i64,
    told: String,
    told_at: UnixTime,
    acked_at: Option<UnixTime>,
    outcome: Option<String>,
}

/// Who watches, and the proof that is looked at again and again.
pub(crate) struct Watcher {
    tenant: TenantId,
    session: Option<SessionId>,
    origin: Origin,
    token: Zeroizing<String>,
    _seat: WatcherSeat,
}

/// Tells until nobody listens, the sign-in ends, or the server stops.
pub(crate) async fn watch(app: App, watcher: Watcher, out: mpsc::Sender<News>) {
    let mut watch = Watch {
        since: app.clock.now() - OVERLAP,
        told: HashSet::new(),
        app,
        watcher,
        out,
    };
    let Err(Over) = watch.run().await;
}

struct Watch {
    app: App,
    watcher: Watcher,
    out: mpsc::Sender<News>,
    /// Changes since then are looked for; a little is looked at twice.
    since: UnixTime,
    /// What was told of that.
    told: HashSet<HeldChange>,
}

/// There is nobody to tell any more.
#[derive(Debug)]
struct Over;

impl Watch {
    async fn run(&mut self) -> Result<Infallible, Over> {
        let mut events = self.subscribe();
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.app.stop.clone();
        self.tell(News::Reload {}).await?;
        loop {
            tokio::select! {
                heard = events.hear() => self.hear(heard).await?,
                _ = beat.tick() => self.beat().await?,
                () = self.out.closed() => return Err(Over),
                () = stop.requested() => return Err(Over),
            }
        }
    }

    fn subscribe(&self) -> Subscriber {
        let Watcher {
            tenant, session, ..
        } = self.watcher;
        let own = [Topic::Keys(tenant), Topic::Vms(tenant)];
        let topics = own.into_iter().chain(session.map(Topic::Session));
        self.app.bus.subscribe(&topics.collect::<Vec<_>>())
    }

    async fn hear(&mut self, heard: Heard) -> Result<(), Over> {
        match heard {
            Heard::Event(Event::KeysChanged { .. }) => self.tell(News::Keys {}).await,
            Heard::Event(Event::VmChanged { vm, .. } | Event::VmSeen { vm, .. }) => {
                self.tell_of_vm(vm).await
            }
            Heard::Event(Event::HeldChanged { .. }) => self.tell_what_is_held().await,
            Heard::Event(Event::SessionEnded { .. }) => Err(Over),
            Heard::Gap => self.tell(News::Reload {}).await,
        }
    }

    /// Whoever was signed out, or lost the permission, hears no more.
    async fn beat(&mut self) -> Result<(), Over> {
        let Watcher { origin, token, .. } = &self.watcher;
        let caller = sessions::signed_in(&self.app, origin, Some(token)).await;
        let still = caller.is_ok_and(|caller| {
            let permission = sessions::Permission::VmRead;
            caller.tenant_id() == self.watcher.tenant
                && caller.owes_no_factor().is_ok()
                && caller.require(permission).is_ok()
        });
        if !still {
            return Err(Over);
        }
        self.tell_what_is_held().await?;
        self.tell(News::Silence).await
    }

    async fn tell_of_vm(&mut self, id: VmId) -> Result<(), Over> {
        let tenant = self.watcher.tenant;
        match self.app.store.vm(tenant, id).await {
            Ok(Some(stored)) => self.tell(News::Vm(Vm::of(&self.app, stored))).await,
            Ok(None) => self.tell(News::VmRemoved { id }).await,
            Err(_) => self.tell(News::Reload {}).await,
        }
    }

    async fn tell_what_is_held(&mut self) -> Result<(), Over> {
        let now = self.app.clock.now();
        let tenant = self.watcher.tenant;
        let changes = self.app.store.held_since(tenant, self.since, MOST).await;
        // A database that does not answer now is asked again at the next beat.
        let Ok(changes) = changes else { return Ok(()) };
        if i64::try_from(changes.len()).unwrap_or(MOST) >= MOST {
            self.tell(News::Reload {}).await?;
        } else {
            for change in &changes {
                if !self.told.contains(change) {
                    self.tell(News::Held(change.into())).await?;
                }
            }
        }
        self.since = now - OVERLAP;
        self.told = changes.into_iter().collect();
        Ok(())
    }

    /// A listener that takes nothing is not waited for.
    async fn tell(&self, news: News) -> Result<(), Over> {
        let told = tokio::time::timeout(TO_TAKE, self.out.send(news)).await;
        told.map_err(|_| Over)?.map_err(|_| Over)
    }
}

impl Watcher {
    /// Takes a seat for this caller.
    pub(crate) fn admit(
        app: &App,
        caller: &SignedIn,
        (origin, token): (Origin, Zeroizing<String>),
    ) -> Result<Self, ApiError> {
        let seat = app.watchers.seat(caller.user_id());
        Ok(Self {
            _seat: seat.ok_or(ApiError::Overloaded)?,
            tenant: caller.tenant_id(),
            session: caller.session(),
            origin,
            token,
        })
    }
}

impl From<&HeldChange> for HeldNews {
    fn from(change: &HeldChange) -> Self {
        Self {
            vm: change.vm_id,
            key: change.key.clone(),
            version: change.version,
            told: change.told.clone(),
            told_at: change.told_at,
            acked_at: change.acked_at,
            outcome: change.outcome.clone(),
        }
    }
}

/// Proof of life, a look at the database, and at the sign-in.
const BEAT: Duration = Duration::from_secs(10);
/// Clocks of servers differ, and transactions take a while.
const OVERLAP: Duration = Duration::from_secs(5);
const TO_TAKE: Duration = Duration::from_secs(10);
/// At once; more are to be read as lists.
const MOST: i64 = 500;
