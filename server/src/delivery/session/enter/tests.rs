use keyferry_protocol::handshake::Claims;
use keyferry_protocol::memory::ProtectionLevel;
use keyferry_protocol::ticket::Ticket;
use serde_json::json;

use super::*;
use crate::delivery::{add_vm, change_vm, issue_ticket, wipe_vm};
use crate::sessions::SignedIn;
use crate::store::VmId;
use crate::testing::{self, Server};

/// A server with a VM, at whose gate agents stand.
struct Gate {
    server: Server,
    ada: SignedIn,
    vm: VmId,
}

impl Gate {
    async fn open() -> Self {
        let server = testing::server().await;
        let ada = server.user("ada").await;
        let body = serde_json::from_value(json!({ "name": "kali-1" })).unwrap();
        let vm = add_vm(&server.app, &ada, body).await.unwrap();
        let vm = serde_json::to_value(vm).unwrap();
        let vm = vm["id"].as_str().unwrap().parse().unwrap();
        Self { server, ada, vm }
    }

    async fn ticket(&self) -> CredentialRef {
        let app = &self.server.app;
        let issued = issue_ticket(app, &self.ada, self.vm).await.unwrap();
        let issued = serde_json::to_value(issued).unwrap();
        let text = issued["ticket"].as_str().unwrap();
        let ticket = Ticket::parse(&app.arena, text.as_bytes()).unwrap();
        CredentialRef {
            kind: CredentialKind::Ticket,
            id: ticket.id,
        }
    }

    /// What the server knows of a credential when an agent offers it.
    async fn offered(&self, offer: CredentialRef) -> StoredCredential {
        look_up(&self.server.app, offer).await.unwrap().unwrap()
    }

    /// The agent proves what it has offered, and is handed the next credential.
    async fn prove(
        &self,
        agent: u8,
        (offer, known): (CredentialRef, &StoredCredential),
    ) -> Result<CredentialRef, Refused> {
        let entered = Entered {
            tenant: known.tenant_id,
            vm: known.vm_id,
            agent_key: PublicKey([agent; 32]),
            claims: Claims {
                boot_id: [0; 16],
                agent_version: "1".to_owned(),
                protection: ProtectionLevel::Mlock,
                capabilities: 0,
            },
            session: Uuid::nil(),
            server_key: self.server.app.server_keys.pairs().noise.current.public(),
            by: offer.kind,
        };
        let next = admit(&self.server.app, offer, known, &entered).await?;
        Ok(CredentialRef {
            kind: CredentialKind::Reattach,
            id: CredentialId(next.id.bytes()),
        })
    }

    async fn enrol(&self, agent: u8) -> CredentialRef {
        let ticket = self.ticket().await;
        let known = self.offered(ticket).await;
        self.prove(agent, (ticket, &known)).await.unwrap()
    }

    async fn wipe(&self) {
        wipe_vm(&self.server.app, &self.ada, self.vm).await.unwrap();
    }

    async fn activate(&self) {
        let body = serde_json::from_value(json!({ "status": "active" })).unwrap();
        change_vm(&self.server.app, &self.ada, self.vm, body)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_credential_that_is_voided_while_it_is_proven_lets_nobody_in() {
    let gate = Gate::open().await;
    let offer = gate.enrol(1).await;
    let known = gate.offered(offer).await;
    gate.wipe().await;
    let refused = gate.prove(1, (offer, &known)).await;
    assert!(matches!(refused, Err(Refused::CutOff)));
    gate.activate().await;
    let other = gate.enrol(2).await;
    let refused = gate.prove(1, (offer, &known)).await;
    assert!(matches!(refused, Err(Refused::UnknownCredential)));
    let others = gate.offered(other).await;
    gate.prove(2, (other, &others)).await.unwrap();
}

#[tokio::test]
async fn a_ticket_that_is_voided_while_it_is_proven_lets_nobody_in() {
    let gate = Gate::open().await;
    let offer = gate.ticket().await;
    let known = gate.offered(offer).await;
    gate.wipe().await;
    let refused = gate.prove(1, (offer, &known)).await;
    assert!(matches!(refused, Err(Refused::CutOff)));
    gate.activate().await;
    let refused = gate.prove(1, (offer, &known)).await;
    assert!(matches!(refused, Err(Refused::TicketEnded)));
}

#[tokio::test]
async fn of_two_machines_that_prove_one_credential_at_once_the_later_is_a_clone() {
    let gate = Gate::open().await;
    let offer = gate.enrol(1).await;
    let (first, second) = (gate.offered(offer).await, gate.offered(offer).await);
    let next = gate.prove(1, (offer, &first)).await.unwrap();
    let known = gate.offered(next).await;
    gate.prove(1, (next, &known)).await.unwrap();
    let refused = gate.prove(1, (offer, &second)).await;
    assert!(matches!(refused, Err(Refused::Clone)));
}
