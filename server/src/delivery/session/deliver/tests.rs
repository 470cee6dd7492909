use futures_util::{SinkExt, StreamExt};
use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::channel::{Receiver, Sender};
use keyferry_protocol::handshake::CredentialKind;
use keyferry_protocol::memory::ProtectionLevel;
use keyferry_protocol::wire::{Held as AgentHolds, Outcome, ToServer};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::*;
use crate::delivery::session::line::{Heard, Line};
use crate::delivery::session::serve::tests::{SOON, claims, shake_hands, sockets};
use crate::delivery::session::{Entered, Socket, reattach_context};
use crate::delivery::{add_vm, remove_vm, wipe_vm};
use crate::sessions::SignedIn;
use crate::store::{NewReattach, TicketId, VmId};
use crate::testing::{self, Server};
use crate::vault::seal;

/// A machine whose owner has one key for it.
struct Scene {
    server: Server,
    ada: SignedIn,
    vm: VmId,
}

/// The other end of the line.
struct Agent {
    socket: Socket,
    sealing: Sender,
    opening: Receiver,
}

impl Scene {
    async fn set() -> Self {
        let server = testing::server().await;
        let ada = server.user("ada").await;
        let body = serde_json::from_value(json!({ "name": "kali-1" })).unwrap();
        let vm = add_vm(&server.app, &ada, body).await.unwrap();
        let vm = serde_json::to_value(vm).unwrap();
        let vm = vm["id"].as_str().unwrap().parse().unwrap();
        let body = json!({ "provider": "openai", "value": "sk-a-very-secret-value" });
        let body = serde_json::from_value(body).unwrap();
        let name = "openai".parse().unwrap();
        vault::put(&server.app, &ada, name, body).await.unwrap();
        Self { server, ada, vm }
    }

    /// This agent is the machine's from now on, and no other.
    async fn let_in(&self, agent: u8) -> Entered {
        let app = &self.server.app;
        let (place, now) = ((self.ada.tenant_id(), self.vm), app.clock.now());
        let id = TicketId::new(now, &mut app.rng());
        let secret = app.arena.random(32, &mut app.rng()).unwrap();
        let context = reattach_context(id);
        let sealed = seal::seal(&app.master_key, &mut app.rng(), &context, &secret).unwrap();
        let new = NewReattach {
            id,
            tenant: place.0,
            vm: place.1,
            agent_key: [agent; 32],
            sealed,
            created_at: now,
        };
        let mut change = app.store.begin().await.unwrap();
        change.clear_for_agent(place, &[agent; 32]).await.unwrap();
        change.insert_reattach(&new).await.unwrap();
        change.commit().await.unwrap();
        Entered {
            tenant: place.0,
            vm: place.1,
            agent_key: PublicKey([agent; 32]),
            claims: claims(),
            session: Uuid::nil(),
            server_key: app.server_keys.pairs().noise.current.public(),
            by: CredentialKind::Ticket,
        }
    }

    async fn line(&self) -> (Line, Agent) {
        let [ours, theirs] = sockets().await;
        let [channel, of_agent] = shake_hands(&self.server.app);
        let mut line = Line::new(ours);
        line.secure(channel);
        let (sealing, opening) = of_agent.split();
        let agent = Agent {
            socket: theirs,
            sealing,
            opening,
        };
        (line, agent)
    }

    /// What the machine was told of each version, and what it has acknowledged.
    async fn held(&self) -> Vec<(i64, String, Option<String>)> {
        let place = (self.ada.tenant_id(), self.vm);
        let rows = self.server.app.store.held(place, ("", 0), 9).await;
        let rows = rows.unwrap().into_iter();
        rows.map(|row| (row.version, row.told, row.outcome))
            .collect()
    }
}

impl Session<'_> {
    /// What the agent says is heard and written down.
    async fn hears(&mut self, said: &ToServer) {
        let message = said.encode(&self.app.arena).unwrap();
        self.take(Heard::Message(message)).unwrap();
        self.write_what_was_said().await.unwrap();
    }
}

impl Agent {
    async fn say(&mut self, (said, arena): (&ToServer, &keyferry_protocol::memory::Arena)) {
        let sealed = self.sealing.seal(said.encode(arena).unwrap()).unwrap();
        let sent = self.socket.send(Message::Binary(sealed.into()));
        sent.await.unwrap();
    }

    /// Whether the next thing that it is told is to wipe everything.
    async fn is_told_to_wipe(&mut self) -> bool {
        let Ok(Some(Ok(Message::Binary(sealed)))) = timeout(SOON, self.socket.next()).await else {
            panic!("nothing was said");
        };
        let message = self.opening.open(&sealed).unwrap();
        matches!(ToAgent::decode(message.expose()), Ok(ToAgent::Wipe))
    }
}

fn acknowledgement(version: u32, outcome: Outcome) -> ToServer {
    ToServer::Ack {
        key: "openai".parse().unwrap(),
        version,
        outcome,
    }
}

fn nothing_is_held() -> ToServer {
    ToServer::Held(AgentHolds {
        protection: ProtectionLevel::Mlock,
        keys: Vec::new(),
    })
}

fn row(told: &str, outcome: Option<&str>) -> Vec<(i64, String, Option<String>)> {
    vec![(1, told.to_owned(), outcome.map(ToOwned::to_owned))]
}

#[tokio::test]
async fn a_machine_that_is_removed_while_a_key_is_written_down_for_it_wipes() {
    let scene = Scene::set().await;
    let (app, entered) = (&scene.server.app, scene.let_in(1).await);
    let (mut line, mut agent) = scene.line().await;
    let mut session = Session::begin(app, &mut line, entered);
    let allowed = allowed(app, &session.entered).await.unwrap();
    let changes = session.told.changes(&allowed);
    assert_eq!(changes.len(), 1);
    remove_vm(app, &scene.ada, scene.vm).await.unwrap();
    session.tell(&changes, &allowed).await.unwrap();
    agent.say((&nothing_is_held(), &app.arena)).await;
    let ended = timeout(SOON, session.run()).await;
    assert!(matches!(ended, Ok(Err(Ended::CutOff))));
    assert!(agent.is_told_to_wipe().await);
}

#[tokio::test]
async fn a_key_that_is_removed_while_it_is_written_down_is_looked_for_again() {
    let scene = Scene::set().await;
    let (app, entered) = (&scene.server.app, scene.let_in(1).await);
    let (mut line, _agent) = scene.line().await;
    let mut session = Session::begin(app, &mut line, entered);
    let allowed = allowed(app, &session.entered).await.unwrap();
    let changes = session.told.changes(&allowed);
    let name = "openai".parse().unwrap();
    vault::remove(app, &scene.ada, name).await.unwrap();
    session.tell(&changes, &allowed).await.unwrap();
    assert_eq!(session.wanted, serve::Wanted::Look);
    session.deliver().await.unwrap();
    assert_eq!(scene.held().await, []);
}

#[tokio::test]
async fn a_revoked_key_is_wiped_also_when_it_was_acknowledged_late() {
    let scene = Scene::set().await;
    let (app, entered) = (&scene.server.app, scene.let_in(1).await);
    let (mut line, _agent) = scene.line().await;
    let mut session = Session::begin(app, &mut line, entered);
    session.deliver().await.unwrap();
    let name = "openai".parse().unwrap();
    vault::revoke(app, &scene.ada, name).await.unwrap();
    session.deliver().await.unwrap();
    session.hears(&acknowledgement(1, Outcome::Held)).await;
    assert_eq!(scene.held().await, row("revoke", None));
    session.hears(&acknowledgement(0, Outcome::Wiped)).await;
    assert_eq!(scene.held().await, row("revoke", Some("wiped")));
}

#[tokio::test]
async fn a_put_that_was_refused_late_does_not_hide_that_the_key_was_wiped() {
    let scene = Scene::set().await;
    let (app, entered) = (&scene.server.app, scene.let_in(1).await);
    let (mut line, _agent) = scene.line().await;
    let mut session = Session::begin(app, &mut line, entered);
    session.deliver().await.unwrap();
    let name = "openai".parse().unwrap();
    vault::revoke(app, &scene.ada, name).await.unwrap();
    session.deliver().await.unwrap();
    session.hears(&acknowledgement(1, Outcome::Refused)).await;
    session.hears(&acknowledgement(0, Outcome::Wiped)).await;
    assert_eq!(scene.held().await, row("revoke", Some("wiped")));
}

#[tokio::test]
async fn a_displaced_agent_leaves_what_its_successor_holds() {
    let scene = Scene::set().await;
    let (app, displaced) = (&scene.server.app, scene.let_in(1).await);
    let (mut old_line, mut old_agent) = scene.line().await;
    let mut old = Session::begin(app, &mut old_line, displaced);
    old.deliver().await.unwrap();
    let entered = scene.let_in(2).await;
    let (mut line, mut agent) = scene.line().await;
    let mut session = Session::begin(app, &mut line, entered);
    session.deliver().await.unwrap();
    session.hears(&acknowledgement(1, Outcome::Held)).await;
    old_agent.say((&nothing_is_held(), &app.arena)).await;
    assert!(matches!(old.deliver().await, Err(Ended::CutOff)));
    assert_eq!(scene.held().await, row("put", Some("held")));
    agent.say((&nothing_is_held(), &app.arena)).await;
    wipe_vm(app, &scene.ada, scene.vm).await.unwrap();
    assert!(matches!(session.deliver().await, Err(Ended::CutOff)));
    assert_eq!(scene.held().await, row("wipe", Some("wiped")));
}
