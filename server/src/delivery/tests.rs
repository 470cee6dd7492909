use std::time::Duration;

use keyferry_protocol::ticket::Ticket;
use serde_json::{Value, json};

use super::issue_ticket::{IssuedFor, issue};
use super::{add_vm, change_vm, held, issue_ticket, list_vms, remove_vm, show_vm, wipe_vm};
use crate::bus::{Event, Heard, Topic};
use crate::error::ApiError;
use crate::page::Page;
use crate::sessions::SignedIn;
use crate::store::{TicketId, VmId};
use crate::testing::{self, Server};

/// A server, a user and a VM of theirs.
struct Yard {
    server: Server,
    ada: SignedIn,
    vm: VmId,
}

impl Yard {
    async fn open() -> Self {
        let server = testing::server().await;
        let ada = server.user("ada").await;
        let vm = add(&server, &ada, "kali-1").await.unwrap();
        let vm = vm["id"].as_str().unwrap().parse().unwrap();
        Self { server, ada, vm }
    }

    async fn change(&self, body: Value) -> Result<Value, ApiError> {
        let body = serde_json::from_value(body).unwrap();
        change_vm(&self.server.app, &self.ada, self.vm, body)
            .await
            .map(shown)
    }

    async fn ticket(&self) -> Result<Ticket, ApiError> {
        let app = &self.server.app;
        let issued = shown(issue_ticket(app, &self.ada, self.vm).await?);
        Ok(Ticket::parse(&app.arena, issued["ticket"].as_str().unwrap().as_bytes()).unwrap())
    }

    async fn redeem(&self, ticket: &Ticket, agent: [u8; 32]) -> bool {
        let app = &self.server.app;
        let id = TicketId::from_bytes(ticket.id.0);
        let mut change = app.store.begin().await.unwrap();
        let redeemed = change
            .redeem_ticket(id, &agent, app.clock.now())
            .await
            .unwrap();
        change.commit().await.unwrap();
        redeemed
    }
}

async fn add(server: &Server, caller: &SignedIn, name: &str) -> Result<Value, ApiError> {
    let body = serde_json::from_value(json!({ "name": name })).unwrap();
    add_vm(&server.app, caller, body).await.map(shown)
}

fn shown(answer: impl serde::Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}

#[tokio::test]
async fn a_ticket_names_the_server_and_its_secret_is_kept() {
    let yard = Yard::open().await;
    let app = &yard.server.app;
    let ticket = yard.ticket().await.unwrap();
    assert_eq!(
        ticket.server_key,
        app.server_keys.pairs().noise.current.public()
    );
    assert_eq!(ticket.urls, app.public_urls);
    let stored = app
        .store
        .ticket(TicketId::from_bytes(ticket.id.0))
        .await
        .unwrap()
        .unwrap();
    let context = super::session::ticket_context(TicketId::from_bytes(ticket.id.0));
    let secret = crate::vault::seal::open(&app.master_key, &context, &stored.sealed).unwrap();
    assert_eq!(secret.expose(), ticket.secret.expose());
}

#[tokio::test]
async fn a_ticket_serves_one_agent_until_it_ends() {
    let yard = Yard::open().await;
    let ticket = yard.ticket().await.unwrap();
    assert!(yard.redeem(&ticket, [1; 32]).await);
    assert!(
        yard.redeem(&ticket, [1; 32]).await,
        "the answer may have been lost"
    );
    assert!(!yard.redeem(&ticket, [2; 32]).await);
    yard.server.clock.advance(Duration::from_secs(600));
    assert!(!yard.redeem(&ticket, [1; 32]).await);
}

#[tokio::test]
async fn a_vm_that_was_cut_off_gets_no_ticket_and_loses_its_old_ones() {
    let yard = Yard::open().await;
    let (app, ada) = (&yard.server.app, &yard.ada);
    let old = yard.ticket().await.unwrap();
    let mut hearing = app.bus.subscribe(&[Topic::Vm(yard.vm)]);
    let vm = shown(wipe_vm(app, ada, yard.vm).await.unwrap());
    assert_eq!(vm["status"], "cut_off");
    let changed = Event::VmChanged {
        tenant: ada.tenant_id(),
        vm: yard.vm,
    };
    assert_eq!(hearing.hear().await, Heard::Event(changed));
    assert!(matches!(yard.ticket().await, Err(ApiError::VmCutOff)));
    assert!(!yard.redeem(&old, [1; 32]).await);
    assert_eq!(
        yard.change(json!({ "status": "active" })).await.unwrap()["status"],
        "active"
    );
    assert!(!yard.redeem(&old, [1; 32]).await, "a new ticket is needed");
    let new = yard.ticket().await.unwrap();
    assert!(yard.redeem(&new, [1; 32]).await);
}

#[tokio::test]
async fn a_vm_that_is_cut_off_while_its_ticket_is_made_gets_none() {
    let yard = Yard::open().await;
    let app = &yard.server.app;
    let tenant = yard.ada.tenant_id();
    let vm = app.store.vm(tenant, yard.vm).await.unwrap().unwrap();
    wipe_vm(app, &yard.ada, yard.vm).await.unwrap();
    let issued_for = IssuedFor {
        tenant,
        created_by: None,
        actor: "operator".to_owned(),
        correlation: uuid::Uuid::nil(),
        way: "host channel",
        agent_key: None,
    };
    let refused = issue(app, &vm, &issued_for).await;
    assert!(matches!(refused, Err(ApiError::VmCutOff)));
}

#[tokio::test]
async fn a_vm_has_a_name_of_its_own() {
    let yard = Yard::open().await;
    let again = add(&yard.server, &yard.ada, "kali-1").await;
    assert!(matches!(again, Err(ApiError::AlreadyExists)));
    for wrong in ["", "a b", &"a".repeat(65)] {
        let refused = add(&yard.server, &yard.ada, wrong).await;
        assert!(matches!(refused, Err(ApiError::Invalid(_))), "{wrong:?}");
    }
    assert_eq!(
        yard.change(json!({ "name": "kali-2" })).await.unwrap()["name"],
        "kali-2"
    );
    add(&yard.server, &yard.ada, "kali-1").await.unwrap();
    let taken = yard.change(json!({ "name": "kali-1" })).await;
    assert!(matches!(taken, Err(ApiError::AlreadyExists)));
}

#[tokio::test]
async fn another_tenant_cannot_reach_a_vm() {
    let yard = Yard::open().await;
    let (app, vm) = (&yard.server.app, yard.vm);
    let eve = yard.server.user("eve").await;
    let page = Page::parse(None).unwrap();
    assert_eq!(
        shown(list_vms(app, &eve, &page).await.unwrap())["items"],
        json!([])
    );
    let body = serde_json::from_value(json!({ "status": "cut_off" })).unwrap();
    assert!(matches!(
        change_vm(app, &eve, vm, body).await,
        Err(ApiError::NotFound)
    ));
    assert!(matches!(
        show_vm(app, &eve, vm).await,
        Err(ApiError::NotFound)
    ));
    assert!(matches!(
        wipe_vm(app, &eve, vm).await,
        Err(ApiError::NotFound)
    ));
    assert!(matches!(
        remove_vm(app, &eve, vm).await,
        Err(ApiError::NotFound)
    ));
    assert!(matches!(
        held(app, &eve, vm, &page).await,
        Err(ApiError::NotFound)
    ));
    assert!(matches!(
        issue_ticket(app, &eve, vm).await.map(shown),
        Err(ApiError::NotFound)
    ));
    let unchanged = shown(show_vm(app, &yard.ada, vm).await.unwrap());
    assert_eq!(unchanged["status"], "active");
}

#[tokio::test]
async fn a_viewer_enrols_and_wipes_nothing() {
    let yard = Yard::open().await;
    let app = &yard.server.app;
    let viewer = yard.server.viewer("vic").await;
    list_vms(app, &viewer, &Page::parse(None).unwrap())
        .await
        .unwrap();
    assert!(matches!(
        add(&yard.server, &viewer, "x").await,
        Err(ApiError::Forbidden)
    ));
    assert!(matches!(
        wipe_vm(app, &viewer, yard.vm).await,
        Err(ApiError::Forbidden)
    ));
    let refused = issue_ticket(app, &viewer, yard.vm).await.map(shown);
    assert!(matches!(refused, Err(ApiError::Forbidden)));
}

#[tokio::test]
async fn a_removed_vm_is_forgotten_with_its_tickets() {
    let yard = Yard::open().await;
    let ticket = yard.ticket().await.unwrap();
    remove_vm(&yard.server.app, &yard.ada, yard.vm)
        .await
        .unwrap();
    assert!(!yard.redeem(&ticket, [1; 32]).await);
    let gone = show_vm(&yard.server.app, &yard.ada, yard.vm).await;
    assert!(matches!(gone, Err(ApiError::NotFound)));
}
