//! An agent without pages and tools: its session, its credentials, and what it was told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use getrandom::SysRng;
use keyferry_protocol::agreement::KeyPair;
use keyferry_protocol::handshake::{Claims, CredentialKind, CredentialRef};
use keyferry_protocol::ids::InstanceId;
use keyferry_protocol::memory::Arena;
use keyferry_protocol::ticket::Ticket;
use keyferry_protocol::wire::{Held, Outcome, ToAgent, ToServer};
use keyferry_sdk::link::{
    Credential, Endpoint, Identity, Link, LinkError, Received, Target, attach,
};
use keyferry_sdk::tls::{ServerTrust, SpkiPin};
use rand_core::{Rng, UnwrapErr};
use tokio::time::interval;

/// What an agent has seen.
#[derive(Default)]
pub struct Seen(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    server: usize,
    sessions: u32,
    served_at: Option<Instant>,
    versions: BTreeMap<String, (u32, Instant)>,
}

impl Seen {
    fn look<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// Whether a server has told it all that it may have, and the session stands.
    pub fn served(&self) -> bool {
        self.served_at().is_some()
    }

    /// When it was, in the session that stands.
    pub fn served_at(&self) -> Option<Instant> {
        self.look(|inside| inside.served_at)
    }

    /// The number of the server of its last session.
    pub fn server(&self) -> usize {
        self.look(|inside| inside.server)
    }

    /// How many sessions it has had.
    pub fn sessions(&self) -> u32 {
        self.look(|inside| inside.sessions)
    }

    /// Whether it was told of this version last.
    pub fn has(&self, key: &str, version: u32) -> bool {
        self.look(|inside| {
            inside
                .versions
                .get(key)
                .is_some_and(|(has, _)| *has == version)
        })
    }

    /// When it was told of the version that it has.
    pub fn when(&self, key: &str) -> Option<Instant> {
        self.look(|inside| inside.versions.get(key).map(|(_, when)| *when))
    }
}

/// One agent.
pub(super) struct LightAgent {
    arena: Arena,
    targets: Vec<Target>,
    identity: Identity,
    newest: Credential,
    /// Offered when the server does not know the newest: its answer may have been lost.
    before: Option<Credential>,
    seen: Arc<Seen>,
}

/// The servers of a ticket, in the order of these URLs.
pub(super) fn targets(ticket: &Ticket, urls: &[String]) -> Vec<Target> {
    let trust = ServerTrust::Pinned(SpkiPin(ticket.spki_pin.unwrap()));
    assert!(urls.iter().all(|url| ticket.urls.contains(url)));
    let target = |url: &String| {
        let url = url.parse().unwrap();
        Target {
            server: Endpoint::new(url, &trust, None).unwrap(),
            server_key: ticket.server_key,
            suite: ticket.min_suite,
        }
    };
    urls.iter().map(target).collect()
}

impl LightAgent {
    pub(super) fn new(arena: &Arena, targets: &[Target], ticket: Ticket, seen: Arc<Seen>) -> Self {
        let mut rng = UnwrapErr(SysRng);
        let mut instance = [0; 16];
        rng.fill_bytes(&mut instance);
        let claims = Claims {
            boot_id: instance,
            agent_version: "light".to_owned(),
            protection: arena.level(),
            capabilities: 0,
        };
        let reference = CredentialRef {
            kind: CredentialKind::Ticket,
            id: ticket.id,
        };
        Self {
            identity: Identity {
                instance: InstanceId(instance),
                key: KeyPair::generate(arena, &mut rng).unwrap(),
                claims,
            },
            arena: arena.clone(),
            targets: targets.to_vec(),
            newest: Credential {
                reference,
                secret: ticket.secret,
            },
            before: None,
            seen,
        }
    }

    /// Goes from server to server for ever, with the pauses of a real agent.
    pub(super) async fn run(mut self, first: usize) {
        let (mut server, mut failures) = (first, 0);
        loop {
            server %= self.targets.len();
            let Err(ended) = self.session(server).await;
            let was_served = self.seen.look(|inside| inside.served_at.take().is_some());
            failures = if was_served { 0 } else { failures + 1 };
            if let (LinkError::Refused, Some(before)) = (&ended, self.before.take()) {
                self.before = Some(std::mem::replace(&mut self.newest, before));
            }
            server += 1;
            let ceiling = Duration::from_millis(100) * (1 << failures.min(8));
            let part = f64::from(UnwrapErr(SysRng).next_u32()) / f64::from(u32::MAX);
            tokio::time::sleep(ceiling.mul_f64(part)).await;
        }
    }

    async fn session(&mut self, server: usize) -> Result<Infallible, LinkError> {
        let target = &self.targets[server];
        let (mut link, accept) = attach(&self.arena, target, &self.identity, &self.newest).await?;
        let ready = self.take(&accept)?;
        drop(accept);
        link.send(&ready).await?;
        self.seen.look(|inside| {
            inside.server = server;
            inside.sessions += 1;
        });
        let mut pulse = interval(Duration::from_secs(10));
        loop {
            tokio::select! {
                received = link.next() => {
                    if let Received::Message(message) = received? {
                        self.hear(&mut link, &message).await?;
                    }
                }
                _ = pulse.tick() => link.ping().await?,
            }
        }
    }

    fn take(
        &mut self,
        message: &keyferry_protocol::memory::LockedBox,
    ) -> Result<ToServer, LinkError> {
        let Ok(ToAgent::Accept(accept)) = ToAgent::decode(message.expose()) else {
            return Err(LinkError::Protocol("the first message is no welcome"));
        };
        let reference = CredentialRef {
            kind: CredentialKind::Reattach,
            id: accept.next_id,
        };
        let secret = self.arena.hold(accept.next_secret)?;
        let next = Credential { reference, secret };
        self.before = Some(std::mem::replace(&mut self.newest, next));
        Ok(ToServer::Ready {
            credential: accept.next_id,
        })
    }

    async fn hear(
        &self,
        link: &mut Link,
        message: &keyferry_protocol::memory::LockedBox,
    ) -> Result<(), LinkError> {
        let (now, said) = (Instant::now(), ToAgent::decode(message.expose()).unwrap());
        let (key, version, outcome) = match said {
            ToAgent::Put(put) => {
                let name = put.key.as_str().to_owned();
                self.seen
                    .look(|inside| inside.versions.insert(name, (put.version, now)));
                (put.key, put.version, Outcome::Held)
            }
            ToAgent::Retire { key, version } => (key, version, Outcome::Wiped),
            ToAgent::Revoke { key } => {
                self.seen
                    .look(|inside| inside.versions.remove(key.as_str()));
                (key, 0, Outcome::Wiped)
            }
            ToAgent::Lease { .. } => {
                let again = self.seen.look(|inside| {
                    let again = inside.served_at.is_some();
                    inside.served_at.get_or_insert(now);
                    again
                });
                if again {
                    return Ok(());
                }
                let keys = Vec::new();
                let protection = self.arena.level();
                return link.send(&ToServer::Held(Held { protection, keys })).await;
            }
            _ => return Err(LinkError::Closed),
        };
        link.send(&ToServer::Ack {
            key,
            version,
            outcome,
        })
        .await
    }
}
