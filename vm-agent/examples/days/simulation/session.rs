//! One session of the agent with the simulated server.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use keyferry_protocol::channel::{Receiver, Sender};
use keyferry_protocol::handshake::{CredentialKind, CredentialRef, Suite, server};
use keyferry_protocol::ids::{CredentialId, KeyName, SessionId, VmId};
use keyferry_protocol::wire::{Accept, Delivery, KeyPolicy, Put, ToAgent, ToServer};
use tokio::io::DuplexStream;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::host::{Host, Order, Reach, Worth};

struct Session {
    host: Arc<Host>,
    socket: WebSocketStream<DuplexStream>,
    sender: Sender,
    receiver: Receiver,
    told: BTreeMap<KeyName, u32>,
}

/// Until either side ends it.
pub(super) async fn serve(host: Arc<Host>, stream: DuplexStream) {
    let mut orders = host.orders.subscribe();
    orders.mark_unchanged();
    let talking = talk(Arc::clone(&host), stream);
    tokio::pin!(talking);
    loop {
        tokio::select! {
            // A connection that is dead says nothing more.
            biased;
            _ = orders.changed() => match orders.borrow_and_update().1 {
                Order::HangUp => return,
                Order::Drain => {}
                Order::Forget => break,
            },
            ended = &mut talking => {
                let _for_whatever_reason = ended;
                return;
            }
        }
    }
    // Neither heard nor closed any more.
    pending::<()>().await;
}

async fn talk(host: Arc<Host>, stream: DuplexStream) -> Option<()> {
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let choose = |request: &Request, mut response: Response| {
        let protocol = request.headers()["sec-websocket-protocol"].clone();
        let fields = response.headers_mut();
        fields.insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    carried(&host).await;
    let accepted = tokio_tungstenite::accept_hdr_async(stream, choose).await;
    let mut socket = accepted.ok()?;
    let Some((sender, receiver, credential)) = shake_hands(&host, &mut socket).await else {
        let busy = CloseFrame {
            code: CloseCode::Again,
            reason: "".into(),
        };
        let undecided = *host.reach.borrow() == Reach::Busy;
        let _gone = socket.close(undecided.then_some(busy)).await;
        return None;
    };
    let mut session = Session {
        host,
        socket,
        sender,
        receiver,
        told: BTreeMap::new(),
    };
    session.welcome(credential).await?;
    session.stay().await
}

async fn shake_hands(
    host: &Host,
    socket: &mut WebSocketStream<DuplexStream>,
) -> Option<(Sender, Receiver, CredentialRef)> {
    let first = binary(host, socket).await?;
    if *host.reach.borrow() == Reach::Busy {
        return None;
    }
    let offered = server::receive(&host.arena, &host.key, Suite::Hybrid, &first).ok()?;
    let credential = offered.credential();
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let (awaiting, second) = offered.reply(&mut rng).ok()?;
    socket.send(Message::Binary(second.into())).await.ok()?;
    let third = binary(host, socket).await?;
    let offered = (credential.kind, credential.id);
    let (secret, worth) = host.records().credentials.get(&offered).copied()?;
    let secret = host.arena.hold(&secret).ok()?;
    let proven = awaiting.verify(&third, &secret).ok()?;
    assert_ne!(
        worth,
        Worth::Retired,
        "the agent offers what it has used up"
    );
    if worth == Worth::Pending {
        promote(host, credential.id);
    }
    let (sender, receiver) = proven.channel.split();
    Some((sender, receiver, credential))
}

fn promote(host: &Host, id: CredentialId) {
    for ((kind, known), (_, worth)) in &mut host.records().credentials {
        if *kind == CredentialKind::Reattach {
            let newest = *known == id;
            *worth = if newest {
                Worth::Current
            } else {
                Worth::Retired
            };
        }
    }
}

/// Waits while nothing gets through.
async fn carried(host: &Host) {
    let mut reach = host.reach.subscribe();
    drop(reach.wait_for(|reach| *reach != Reach::Hung).await);
}

async fn binary(host: &Host, socket: &mut WebSocketStream<DuplexStream>) -> Option<Vec<u8>> {
    loop {
        let message = socket.next().await?.ok()?;
        carried(host).await;
        match message {
            Message::Binary(message) => return Some(message.to_vec()),
            Message::Ping(_) | Message::Pong(_) => {}
            _ => return None,
        }
    }
}

impl Session {
    async fn welcome(&mut self, _proven: CredentialRef) -> Option<()> {
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        getrandom::fill(&mut id).ok()?;
        getrandom::fill(&mut secret).ok()?;
        let reference = (CredentialKind::Reattach, CredentialId(id));
        let lease_seconds = {
            let mut records = self.host.records();
            let pending = |worth| worth == Worth::Pending;
            records.credentials.retain(|_, (_, worth)| !pending(*worth));
            records
                .credentials
                .insert(reference, (secret, Worth::Pending));
            records.lease
        };
        let accept = Accept {
            session: SessionId([3; 16]),
            vm: VmId([4; 16]),
            lease_seconds,
            next_id: CredentialId(id),
            next_secret: &secret,
        };
        self.say(&ToAgent::Accept(accept)).await?;
        let ready = ToServer::Ready {
            credential: CredentialId(id),
        };
        (self.hear().await? == ready).then_some(())?;
        promote(&self.host, CredentialId(id));
        self.host.records().sessions += 1;
        Some(())
    }

    /// Tells what changes, renews the lease, and hears what the agent has to say.
    async fn stay(&mut self) -> Option<()> {
        self.find_words().await?;
        let mut changes = self.host.changes.subscribe();
        let mut orders = self.host.orders.subscribe();
        loop {
            changes.mark_unchanged();
            self.deliver().await?;
            let seconds = self.host.records().lease;
            self.say(&ToAgent::Lease { seconds }).await?;
            self.grant(seconds);
            // What was on its way when the network failed may have got there, or not.
            if *self.host.reach.borrow() == Reach::Served {
                let now = self.host.now();
                self.host.records().in_touch_since.get_or_insert(now);
            }
            let renewal = sleep(Duration::from_secs(u64::from(seconds) / 3).min(MOST));
            tokio::pin!(renewal);
            loop {
                tokio::select! {
                    said = self.hear() => drop(said?),
                    _ = changes.changed() => break,
                    () = &mut renewal => break,
                    _ = orders.changed() => if orders.borrow_and_update().1 == Order::Drain {
                        return self.say(&ToAgent::Drain).await;
                    }
                }
            }
        }
    }

    async fn find_words(&mut self) -> Option<()> {
        let mut reach = self.host.reach.subscribe();
        while *reach.borrow_and_update() == Reach::Mute {
            tokio::select! {
                said = self.hear() => drop(said?),
                changed = reach.changed() => changed.ok()?,
            }
        }
        Some(())
    }

    /// A welcome begins a lease for what is put after it, and prolongs none.
    fn begin_lease(&self) {
        let (until, seconds) = {
            let records = self.host.records();
            (records.leased_until, records.lease)
        };
        if until <= self.host.now() {
            self.grant(seconds);
        }
    }

    fn grant(&self, seconds: u32) {
        let until = self.host.now() + Duration::from_secs(seconds.into());
        let mut records = self.host.records();
        records.leased_until = until;
        records.longest_lease = records.longest_lease.max(seconds);
    }

    /// What goes first, then what comes.
    async fn deliver(&mut self) -> Option<()> {
        if self.host.records().banned_at.is_some() {
            self.say(&ToAgent::Wipe).await?;
            return None;
        }
        let wanted = self.host.records().deliverable(self.host.machine.wall());
        let gone: Vec<_> = self
            .told
            .keys()
            .filter(|name| !wanted.contains_key(name))
            .cloned()
            .collect();
        for key in gone {
            self.told.remove(&key);
            self.say(&ToAgent::Revoke { key }).await?;
        }
        for (name, version) in wanted {
            if self.told.insert(name.clone(), version) != Some(version) {
                self.put(&name, version).await?;
            }
        }
        Some(())
    }

    async fn put(&mut self, name: &KeyName, version: u32) -> Option<()> {
        self.begin_lease();
        let (value, not_after) = {
            let mut records = self.host.records();
            let stored = records.keys.get(name)?.last()?;
            let found = (stored.value.clone(), stored.not_after);
            records.put_at.insert(name.clone(), self.host.now());
            found
        };
        let not_after = not_after.map_or(0, |end| u64::try_from(end.as_micros()).unwrap_or(0));
        self.say(&ToAgent::Put(Put {
            key: name.clone(),
            version,
            not_after,
            provider: "custom",
            delivery: Delivery::Raw,
            allowed_hosts: Vec::new(),
            policy: KeyPolicy::default(),
            value: &value,
        }))
        .await
    }

    async fn say(&mut self, message: &ToAgent<'_>) -> Option<()> {
        carried(&self.host).await;
        let message = message.encode(&self.host.arena).ok()?;
        let sealed = self.sender.seal(message).ok()?;
        let sent = self.socket.send(Message::Binary(sealed.into())).await;
        sent.ok()
    }

    async fn hear(&mut self) -> Option<ToServer> {
        let sealed = binary(&self.host, &mut self.socket).await?;
        let plain = self.receiver.open(&sealed).ok()?;
        ToServer::decode(plain.expose()).ok()
    }
}

/// However long the lease is, the real server looks again by then.
const MOST: Duration = Duration::from_secs(60);
