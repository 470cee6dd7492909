//! One agent's session with the server of the stories.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{SinkExt, StreamExt};
use keyferry_protocol::channel::{Receiver, Sender};
use keyferry_protocol::handshake::{CredentialKind, Suite, server};
use keyferry_protocol::ids::{CredentialId, SessionId, VmId};
use keyferry_protocol::wire::{Accept, KeyPolicy, Put, ToAgent, ToServer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{Command, Shared};

pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

type Stream = Box<dyn Transport>;

struct Session {
    socket: WebSocketStream<Stream>,
    sender: Sender,
    receiver: Receiver,
}

pub(super) async fn session(shared: Arc<Shared>, stream: Stream) {
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let choose = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), "/agent");
        let protocol = request.headers()["sec-websocket-protocol"].clone();
        assert_eq!(protocol, "keyferry.v1");
        response
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose)
        .await
        .unwrap();
    let refusing = *shared.refusing.lock().unwrap();
    let shaken = shake_hands(&shared, &mut socket).await;
    let Some((sender, receiver)) = shaken.filter(|_channel| refusing.is_none()) else {
        let code = refusing.unwrap_or(CloseCode::Policy);
        let reason = String::new().into();
        let _gone = socket.close(Some(CloseFrame { code, reason })).await;
        return;
    };
    let mut session = Session {
        socket,
        sender,
        receiver,
    };
    let mut commands = shared.commands.subscribe();
    session.welcome(&shared).await;
    loop {
        tokio::select! {
            said = session.hear() => match said {
                Some(said) => shared.hear.send(said).unwrap_or_default(),
                None => {
                    // Whoever has just said something to it waits for no more.
                    shared.told.notify_waiters();
                    return;
                }
            },
            command = commands.recv() => {
                let hang = matches!(command, Ok(Command::Hang) | Err(_));
                if let (false, Ok(command)) = (hang, command) {
                    session.carry_out(&shared, command).await;
                }
                shared.told.notify_waiters();
                if hang {
                    return;
                }
            }
        }
    }
}

async fn shake_hands(
    shared: &Shared,
    socket: &mut WebSocketStream<Stream>,
) -> Option<(Sender, Receiver)> {
    let first = binary(socket).await?;
    let offered =
        server::receive(&shared.arena, &shared.key, Suite::Hybrid, &first).expect("a fair offer");
    let credential = offered.credential();
    let known = shared
        .credentials
        .lock()
        .unwrap()
        .get(&(credential.kind, credential.id))
        .copied();
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let (awaiting, second) = offered.reply(&mut rng).unwrap();
    socket.send(Message::Binary(second.into())).await.ok()?;
    let third = binary(socket).await?;
    let secret = shared.arena.hold(&known?).unwrap();
    let proven = awaiting.verify(&third, &secret).ok()?;
    Some(proven.channel.split())
}

async fn binary(socket: &mut WebSocketStream<Stream>) -> Option<Vec<u8>> {
    loop {
        match socket.next().await?.ok()? {
            Message::Binary(message) => return Some(message.to_vec()),
            Message::Ping(_) | Message::Pong(_) => {}
            _ => return None,
        }
    }
}

impl Session {
    async fn welcome(&mut self, shared: &Shared) {
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        getrandom::fill(&mut id).unwrap();
        getrandom::fill(&mut secret).unwrap();
        let accept = Accept {
            session: SessionId([3; 16]),
            vm: VmId([4; 16]),
            lease_seconds: 900,
            next_id: CredentialId(id),
            next_secret: &secret,
        };
        self.say(shared, &ToAgent::Accept(accept)).await;
        let ready = self.hear().await;
        if ready
            != Some(ToServer::Ready {
                credential: CredentialId(id),
            })
        {
            return;
        }
        // From here on only the newest is good: a retired one would show a clone.
        let newest = HashMap::from([((CredentialKind::Reattach, CredentialId(id)), secret)]);
        *shared.credentials.lock().unwrap() = newest;
        // Before any key: who sees the key of a session sees it counted.
        shared.sessions.fetch_add(1, Ordering::SeqCst);
        if shared.tongue_tied.load(Ordering::SeqCst) {
            return;
        }
        let names: Vec<_> = shared.keys.lock().unwrap().keys().cloned().collect();
        for name in names {
            self.carry_out(shared, Command::Put(name)).await;
        }
        self.carry_out(shared, Command::Lease(900)).await;
    }

    async fn carry_out(&mut self, shared: &Shared, command: Command) {
        match command {
            Command::Put(name) => {
                let Some(stored) = shared.keys.lock().unwrap().get(&name).cloned() else {
                    return;
                };
                let put = Put {
                    key: name.parse().unwrap(),
                    version: stored.version,
                    not_after: 0,
                    provider: "custom",
                    delivery: stored.delivery,
                    allowed_hosts: Vec::new(),
                    policy: KeyPolicy::default(),
                    value: &stored.value,
                };
                self.say(shared, &ToAgent::Put(put)).await;
            }
            Command::Revoke(name) => {
                self.say(
                    shared,
                    &ToAgent::Revoke {
                        key: name.parse().unwrap(),
                    },
                )
                .await;
            }
            Command::Lease(seconds) => self.say(shared, &ToAgent::Lease { seconds }).await,
            Command::Wipe => self.say(shared, &ToAgent::Wipe).await,
            Command::Hang => {}
        }
    }

    async fn say(&mut self, shared: &Shared, message: &ToAgent<'_>) {
        let sealed = self
            .sender
            .seal(message.encode(&shared.arena).unwrap())
            .unwrap();
        let _the_agent_may_be_gone = self.socket.send(Message::Binary(sealed.into())).await;
    }

    async fn hear(&mut self) -> Option<ToServer> {
        let sealed = binary(&mut self.socket).await?;
        let plain = self.receiver.open(&sealed).unwrap();
        Some(ToServer::decode(plain.expose()).unwrap())
    }
}
