//! What a ticket and the credentials after it are worth, and how a ticket can be handed over.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::Write;
use std::os::fd::AsRawFd;

use getrandom::SysRng;
use keyferry_protocol::agreement::KeyPair;
use keyferry_protocol::handshake::{Claims, CredentialKind, CredentialRef};
use keyferry_protocol::ids::{CredentialId, InstanceId};
use keyferry_protocol::memory::{Arena, LockedBox, ProtectionLevel, self_test};
use keyferry_protocol::ticket::Ticket;
use keyferry_protocol::wire::{ToAgent, ToServer};
use keyferry_sdk::link::{
    Credential, Endpoint, Identity, Link, LinkError, Received, Target, attach,
};
use keyferry_sdk::tls::{ServerTrust, SpkiPin};
use keyferry_tests::{Agent, Engine, Person, Secret, Server, Stage, on_both_engines};
use rand_core::UnwrapErr;
use serde_json::Value;

on_both_engines!(
    a_lost_answer_does_not_burn_a_ticket_for_the_same_agent,
    a_retired_credential_that_shows_up_again_marks_a_clone,
    a_credential_is_of_no_use_to_another_agent,
    a_ticket_can_come_by_descriptor_or_as_a_systemd_credential,
);

/// The agent's side of the link, without the agent.
struct Machine {
    arena: Arena,
    target: Target,
    identity: Identity,
}

impl Machine {
    fn new(arena: &Arena, ticket: &Ticket) -> Self {
        let trust = ServerTrust::Pinned(SpkiPin(ticket.spki_pin.unwrap()));
        let url = ticket.urls[0].parse().unwrap();
        let claims = Claims {
            boot_id: [1; 16],
            agent_version: "0.1.0".to_owned(),
            protection: ProtectionLevel::Mlock,
            capabilities: 0,
        };
        Self {
            arena: arena.clone(),
            target: Target {
                server: Endpoint::new(url, &trust, None).unwrap(),
                server_key: ticket.server_key,
                suite: ticket.min_suite,
            },
            identity: Identity {
                instance: InstanceId([7; 16]),
                key: KeyPair::generate(arena, &mut UnwrapErr(SysRng)).unwrap(),
                claims,
            },
        }
    }

    async fn attach(&self, credential: &Credential) -> Result<(Link, LockedBox), LinkError> {
        attach(&self.arena, &self.target, &self.identity, credential).await
    }

    /// Attaches, and says `Ready`: the credential for the next session counts from then on.
    async fn attach_wholly(&self, credential: &Credential) -> (Link, Credential) {
        let (mut link, accept) = self.attach(credential).await.unwrap();
        let next = self.next(&accept);
        link.send(&ToServer::Ready {
            credential: next.reference.id,
        })
        .await
        .unwrap();
        // Whatever the server says next, it says after it has taken note.
        assert!(matches!(link.next().await.unwrap(), Received::Message(_)));
        (link, next)
    }

    fn next(&self, accept: &LockedBox) -> Credential {
        let Ok(ToAgent::Accept(accept)) = ToAgent::decode(accept.expose()) else {
            unreachable!("the first message is a welcome")
        };
        let reference = CredentialRef {
            kind: CredentialKind::Reattach,
            id: accept.next_id,
        };
        let secret = self.arena.hold(accept.next_secret).unwrap();
        Credential { reference, secret }
    }
}

fn ticket(arena: &Arena, owner: &Person<'_>, vm: &str) -> (Ticket, Credential) {
    let text = owner.ticket_for_new_vm(vm);
    let ticket = Ticket::parse(arena, text.as_bytes()).unwrap();
    let reference = CredentialRef {
        kind: CredentialKind::Ticket,
        id: ticket.id,
    };
    let secret = arena.hold(ticket.secret.expose()).unwrap();
    (ticket, Credential { reference, secret })
}

fn vm(owner: &Person<'_>) -> Value {
    let vms = owner.run(&["vms", "list", "--json"], b"").success().output;
    let vms: Value = serde_json::from_str(&vms).unwrap();
    vms.as_array()
        .map_or_else(|| vms["items"][0].clone(), |vms| vms[0].clone())
}

async fn a_lost_answer_does_not_burn_a_ticket_for_the_same_agent(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let arena = Arena::new(self_test().unwrap()).unwrap();
    let (ticket, credential) = ticket(&arena, &ada, "kali-1");
    let machine = Machine::new(&arena, &ticket);
    // The welcome arrives, and the connection is lost before anything is answered: as good as lost.
    drop(machine.attach(&credential).await.unwrap());
    let other = Machine::new(&arena, &ticket);
    assert!(matches!(
        other.attach(&credential).await,
        Err(LinkError::Refused)
    ));
    machine.attach_wholly(&credential).await;
}

async fn a_retired_credential_that_shows_up_again_marks_a_clone(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let arena = Arena::new(self_test().unwrap()).unwrap();
    let (ticket, credential) = ticket(&arena, &ada, "kali-1");
    let machine = Machine::new(&arena, &ticket);
    let (_link, first) = machine.attach_wholly(&credential).await;
    let (_link, _second) = machine.attach_wholly(&first).await;
    assert_eq!(vm(&ada)["suspected_clone"], false);
    // A copy of the machine, made in the first session, has all that the original had then.
    assert!(matches!(
        machine.attach(&first).await,
        Err(LinkError::Refused)
    ));
    assert_eq!(vm(&ada)["suspected_clone"], true);
}

async fn a_credential_is_of_no_use_to_another_agent(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let arena = Arena::new(self_test().unwrap()).unwrap();
    let (ticket, credential) = ticket(&arena, &ada, "kali-1");
    let machine = Machine::new(&arena, &ticket);
    let (_link, next) = machine.attach_wholly(&credential).await;
    let thief = Machine::new(&arena, &ticket);
    assert!(matches!(thief.attach(&next).await, Err(LinkError::Refused)));
    // Neither a guess at the secret nor one at the id tells more than that.
    let guess = |id| Credential {
        reference: CredentialRef {
            kind: CredentialKind::Reattach,
            id,
        },
        secret: arena.random(32, &mut UnwrapErr(SysRng)).unwrap(),
    };
    let wrong_secret = guess(next.reference.id);
    assert!(matches!(
        machine.attach(&wrong_secret).await,
        Err(LinkError::Refused)
    ));
    let wrong_id = guess(CredentialId([9; 16]));
    assert!(matches!(
        machine.attach(&wrong_id).await,
        Err(LinkError::Refused)
    ));
    machine.attach_wholly(&next).await;
    assert_eq!(vm(&ada)["suspected_clone"], false);
}

async fn a_ticket_can_come_by_descriptor_or_as_a_systemd_credential(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());

    let (reader, mut writer) = std::io::pipe().unwrap();
    writer
        .write_all(ada.ticket_for_new_vm("by-descriptor").as_bytes())
        .unwrap();
    drop(writer);
    rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty()).unwrap();
    let number = reader.as_raw_fd().to_string();
    let agent = Agent::start_configured(&stage, "by-descriptor", |command| {
        command.args(["--ticket-fd", &number]);
    });
    agent.until_holding("openai", 1).await;

    let folder = stage.path("credentials");
    std::fs::create_dir(&folder).unwrap();
    let text = ada.ticket_for_new_vm("by-credential");
    std::fs::write(folder.join("ticket"), text).unwrap();
    let agent = Agent::start_configured(&stage, "by-credential", |command| {
        command.env("CREDENTIALS_DIRECTORY", &folder);
    });
    agent.until_holding("openai", 1).await;
}
