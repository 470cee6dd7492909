use bytes::Bytes;
use futures_util::{FutureExt, SinkExt};
use http_body_util::Empty;
use hyper::header::{CONNECTION, UPGRADE};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use keyferry_protocol::agreement::{KeyPair, PublicKey};
use keyferry_protocol::channel::{Channel, Sender};
use keyferry_protocol::handshake::{CredentialKind, CredentialRef, Suite, agent, server};
use keyferry_protocol::ids::{CredentialId, InstanceId};
use keyferry_protocol::memory::ProtectionLevel;
use keyferry_protocol::wire::Held as AgentHolds;
use tokio::sync::mpsc::unbounded_channel;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use uuid::Uuid;

use super::super::Socket;
use super::*;
use crate::delivery::attached::Turn;
use crate::store::{TenantId, VmId};
use crate::testing::{self, Server};

/// A line that is shaken hands over, where sessions never have their turn at the database.
struct Scene {
    server: Server,
    _turns: Vec<Turn>,
    line: Line,
    agent: Agent,
}

/// The other end of the line.
struct Agent {
    socket: Socket,
    sealing: Sender,
}

impl Scene {
    async fn set() -> Self {
        let server = testing::server().await;
        let mut turns = Vec::new();
        while let Some(turn) = server.app.attached.turn().now_or_never() {
            turns.push(turn);
        }
        let [ours, theirs] = sockets().await;
        let (mut line, [channel, of_agent]) = (Line::new(ours), shake_hands(&server.app));
        line.secure(channel);
        let agent = Agent {
            socket: theirs,
            sealing: of_agent.split().0,
        };
        Self {
            server,
            _turns: turns,
            line,
            agent,
        }
    }
}

/// A session whose agent was last heard so long ago.
fn silent_for<'a>(span: Duration, (app, line): (&'a App, &'a mut Line)) -> Session<'a> {
    let entered = Entered {
        tenant: TenantId::from_bytes([3; 16]),
        vm: VmId::from_bytes([4; 16]),
        agent_key: PublicKey([5; 32]),
        claims: claims(),
        session: Uuid::nil(),
        server_key: app.server_keys.pairs().noise.current.public(),
        by: CredentialKind::Ticket,
    };
    let mut session = Session::begin(app, line, entered);
    session.heard_at = Instant::now().checked_sub(span).unwrap();
    session
}

impl Agent {
    /// Says something of this length.
    async fn say(&mut self, app: &App) -> usize {
        let holds = ToServer::Held(AgentHolds {
            protection: ProtectionLevel::Mlock,
            keys: Vec::new(),
        });
        let message = holds.encode(&app.arena).unwrap();
        let length = message.expose().len();
        let sealed = self.sealing.seal(message).unwrap();
        let sent = self.socket.send(Message::Binary(sealed.into()));
        sent.await.unwrap();
        length
    }
}

#[tokio::test]
async fn an_agent_that_was_silent_for_90_seconds_is_given_up() {
    let mut scene = Scene::set().await;
    let place = (&scene.server.app, &mut scene.line);
    let mut session = silent_for(Duration::from_secs(90), place);
    let ended = timeout(SOON, session.run()).await;
    assert!(matches!(ended, Ok(Err(Ended::Silent))));
}

#[tokio::test]
async fn an_agent_that_only_pings_is_kept() {
    let mut scene = Scene::set().await;
    let ping = Message::Ping(Bytes::new());
    scene.agent.socket.send(ping).await.unwrap();
    let place = (&scene.server.app, &mut scene.line);
    let mut session = silent_for(Duration::from_secs(30), place);
    let before = session.heard_at;
    let ended = timeout(Duration::from_millis(500), session.run()).await;
    assert!(ended.is_err() && session.heard_at > before, "it was heard");
}

#[tokio::test]
async fn an_agent_that_says_more_than_64_kib_while_nothing_is_written_is_sent_away() {
    let Scene {
        server,
        _turns,
        mut line,
        mut agent,
    } = Scene::set().await;
    let app = &server.app;
    let each = agent.say(app).await + size_of::<ToServer>();
    for _ in 1..64 * 1024 / each {
        agent.say(app).await;
    }
    let mut session = silent_for(Duration::ZERO, (app, &mut line));
    let ended = timeout(Duration::from_millis(500), session.run()).await;
    assert!(ended.is_err(), "there is room for this");
    agent.say(app).await;
    let ended = timeout(SOON, session.run()).await;
    assert!(matches!(ended, Ok(Err(Ended::Behind))));
}

/// Both ends of a connection that was upgraded to a WebSocket.
pub(in crate::delivery::session) async fn sockets() -> [Socket; 2] {
    let (here, there) = tokio::io::duplex(256 * 1024);
    let (upgrading, mut upgraded) = unbounded_channel();
    let answer = service_fn(move |request: Request<_>| {
        upgrading.send(request).unwrap();
        let switching = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let switching = switching
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "websocket");
        async { switching.body(Empty::<Bytes>::new()) }
    });
    let serving = hyper::server::conn::http1::Builder::new();
    let serving = serving
        .serve_connection(TokioIo::new(here), answer)
        .with_upgrades();
    tokio::spawn(serving);
    let (mut asking, connection) = hyper::client::conn::http1::handshake(TokioIo::new(there))
        .await
        .unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = Request::get("/")
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answered = asking.send_request(request).await.unwrap();
    let theirs = hyper::upgrade::on(answered).await.unwrap();
    let ours = hyper::upgrade::on(upgraded.recv().await.unwrap())
        .await
        .unwrap();
    [
        socket(ours, Role::Server).await,
        socket(theirs, Role::Client).await,
    ]
}

async fn socket(upgraded: Upgraded, role: Role) -> Socket {
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), role, None).await
}

/// The channels of the server and of an agent.
pub(in crate::delivery::session) fn shake_hands(app: &App) -> [Channel; 2] {
    let (arena, rng) = (&app.arena, &mut app.rng());
    let pairs = app.server_keys.pairs();
    let server_key = &pairs.noise.current;
    let agent_key = KeyPair::generate(arena, rng).unwrap();
    let secret = arena.random(32, rng).unwrap();
    let hello = agent::Hello {
        server_key: server_key.public(),
        suite: Suite::Hybrid,
        instance: InstanceId([1; 16]),
        credential: CredentialRef {
            kind: CredentialKind::Ticket,
            id: CredentialId([2; 16]),
        },
        agent_key: &agent_key,
    };
    let (waiting, first) = agent::begin(arena, rng, hello).unwrap();
    let offered = server::receive(arena, server_key, Suite::Hybrid, &first).unwrap();
    let (proof, second) = offered.reply(rng).unwrap();
    let (theirs, third) = waiting.finish(&second, &secret, &claims()).unwrap();
    let proven = proof.verify(&third, &secret).unwrap();
    [proven.channel, theirs]
}

pub(in crate::delivery::session) fn claims() -> Claims {
    Claims {
        boot_id: [0; 16],
        agent_version: "1".to_owned(),
        protection: ProtectionLevel::Mlock,
        capabilities: 0,
    }
}

pub(in crate::delivery::session) const SOON: Duration = Duration::from_secs(60);
