use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use getrandom::SysRng;
use keyferry_protocol::agreement::{KeyPair, PublicKey};
use keyferry_protocol::approval::{UserCode, ticket_info};
use keyferry_protocol::sealed::open;
use keyferry_protocol::ticket::Ticket;
use rand_core::UnwrapErr;
use serde_json::{Value, json};

use super::{approve, ask, deny, list, poll, show};
use crate::error::ApiError;
use crate::page::Page;
use crate::sessions::SignedIn;
use crate::store::TicketId;
use crate::testing::{self, ORIGIN, Server};

/// A server, somebody who may approve, and an agent that waits.
struct Desk {
    server: Server,
    ada: SignedIn,
}

struct Waiting {
    key: KeyPair,
    asked: Value,
    code: UserCode,
}

impl Desk {
    async fn open() -> Self {
        let server = testing::server().await;
        let ada = server.user("ada").await;
        Self { server, ada }
    }

    async fn agent(&self, more: Value) -> Result<Waiting, ApiError> {
        let app = &self.server.app;
        let key = KeyPair::generate(&app.arena, &mut UnwrapErr(SysRng)).unwrap();
        let mut body = json!({ "agent_key": Base64UrlUnpadded::encode_string(&key.public().0) });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let asked = ask(app, &ORIGIN, serde_json::from_value(body).unwrap()).await?;
        let asked = serde_json::to_value(asked).unwrap();
        let code = asked["user_code"].as_str().unwrap().parse().unwrap();
        Ok(Waiting { key, asked, code })
    }

    async fn poll(&self, waiting: &Waiting) -> Result<Value, ApiError> {
        self.server.clock.advance(Duration::from_secs(2));
        self.poll_at_once(waiting).await
    }

    async fn poll_at_once(&self, waiting: &Waiting) -> Result<Value, ApiError> {
        let body = json!({ "device_code": waiting.asked["device_code"] });
        let body = serde_json::from_value(body).unwrap();
        let answer = poll(&self.server.app, &ORIGIN, body).await?;
        Ok(serde_json::to_value(answer).unwrap())
    }

    async fn approve(&self, code: &UserCode, body: Value) -> Result<Value, ApiError> {
        let body = serde_json::from_value(body).unwrap();
        let answer = approve(&self.server.app, &self.ada, code.clone(), body).await?;
        Ok(serde_json::to_value(answer).unwrap())
    }

    fn ticket(&self, answer: &Value, own: &KeyPair) -> Option<Ticket> {
        let sealed = answer["sealed_ticket"].as_str().unwrap();
        let sealed = Base64UrlUnpadded::decode_vec(sealed).unwrap();
        let arena = &self.server.app.arena;
        let text = open(arena, own, &ticket_info(own.public()), &sealed).ok()?;
        Some(Ticket::parse(arena, text.expose()).unwrap())
    }

    async fn redeem(&self, ticket: &Ticket, agent: PublicKey) -> bool {
        let app = &self.server.app;
        let (id, now) = (TicketId::from_bytes(ticket.id.0), app.clock.now());
        let mut change = app.store.begin().await.unwrap();
        let redeemed = change.redeem_ticket(id, &agent.0, now).await.unwrap();
        change.commit().await.unwrap();
        redeemed
    }
}

#[tokio::test]
async fn an_approved_agent_fetches_a_ticket_that_only_it_can_open_and_redeem() {
    let desk = Desk::open().await;
    let waiting = desk.agent(json!({ "name": "kali-1" })).await.unwrap();
    assert!(matches!(
        desk.poll(&waiting).await,
        Err(ApiError::AuthorizationPending)
    ));
    let approved = desk.approve(&waiting.code, json!({})).await.unwrap();
    assert_eq!(
        (&approved["status"], &approved["name"]),
        (&"approved".into(), &"kali-1".into())
    );
    let answer = desk.poll(&waiting).await.unwrap();
    assert_eq!(answer["vm"], approved["vm"]);
    let other = KeyPair::generate(&desk.server.app.arena, &mut UnwrapErr(SysRng)).unwrap();
    assert!(desk.ticket(&answer, &other).is_none());
    let ticket = desk.ticket(&answer, &waiting.key).unwrap();
    assert!(!desk.redeem(&ticket, other.public()).await);
    assert!(desk.redeem(&ticket, waiting.key.public()).await);
    // Whose answer was lost asks again.
    assert!(desk.poll(&waiting).await.is_ok());
}

#[tokio::test]
async fn the_code_commits_to_the_keys_of_both_sides() {
    let desk = Desk::open().await;
    let waiting = desk.agent(json!({})).await.unwrap();
    let mut nonce = [0; 16];
    Base64UrlUnpadded::decode(waiting.asked["nonce"].as_str().unwrap(), &mut nonce).unwrap();
    let server = desk.server.app.server_keys.pairs().noise.current.public();
    assert_eq!(
        UserCode::of(waiting.key.public(), server, &nonce),
        waiting.code
    );
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_slow_down() {
    let desk = Desk::open().await;
    let waiting = desk.agent(json!({})).await.unwrap();
    assert!(matches!(
        desk.poll_at_once(&waiting).await,
        Err(ApiError::AuthorizationPending)
    ));
    assert!(matches!(
        desk.poll_at_once(&waiting).await,
        Err(ApiError::SlowDown)
    ));
}

#[tokio::test]
async fn a_denied_or_expired_code_leads_nowhere() {
    let desk = Desk::open().await;
    let denied = desk.agent(json!({ "name": "kali-1" })).await.unwrap();
    deny(&desk.server.app, &desk.ada, denied.code.clone())
        .await
        .unwrap();
    assert!(matches!(
        desk.poll(&denied).await,
        Err(ApiError::EnrolmentDenied)
    ));
    let again = desk.approve(&denied.code, json!({})).await;
    assert!(matches!(again, Err(ApiError::AlreadyDecided)));

    let late = desk.agent(json!({ "name": "kali-1" })).await.unwrap();
    desk.approve(&late.code, json!({})).await.unwrap();
    desk.server.clock.advance(Duration::from_secs(600));
    assert!(matches!(
        desk.poll(&late).await,
        Err(ApiError::EnrolmentEnded)
    ));
    let approved = desk.approve(&late.code, json!({})).await;
    assert!(matches!(approved, Err(ApiError::NotFound)));
}

#[tokio::test]
async fn a_machine_that_is_cut_off_takes_its_approval_with_it() {
    let desk = Desk::open().await;
    let waiting = desk.agent(json!({ "name": "kali-1" })).await.unwrap();
    let approved = desk.approve(&waiting.code, json!({})).await.unwrap();
    let vm = approved["vm"].as_str().unwrap().parse().unwrap();
    crate::delivery::wipe_vm(&desk.server.app, &desk.ada, vm)
        .await
        .unwrap();
    assert!(matches!(
        desk.poll(&waiting).await,
        Err(ApiError::EnrolmentEnded)
    ));
    let next = desk.agent(json!({ "name": "kali-1" })).await.unwrap();
    let refused = desk.approve(&next.code, json!({})).await;
    assert!(matches!(refused, Err(ApiError::VmCutOff)));
}

#[tokio::test]
async fn codes_cannot_be_guessed() {
    let desk = Desk::open().await;
    let waiting = desk.agent(json!({ "name": "kali-1" })).await.unwrap();
    let wrong = UserCode::of(PublicKey([1; 32]), PublicKey([2; 32]), &[3; 16]);
    for _ in 0..10 {
        let guess = show(&desk.server.app, &desk.ada, wrong.clone()).await;
        assert!(matches!(guess, Err(ApiError::NotFound)));
    }
    let right = desk.approve(&waiting.code, json!({})).await;
    assert!(matches!(right, Err(ApiError::RateLimited(_))));
    desk.server.clock.advance(Duration::from_secs(90));
    desk.approve(&waiting.code, json!({})).await.unwrap();
}

#[tokio::test]
async fn a_request_that_names_a_tenant_is_that_tenants_alone() {
    let desk = Desk::open().await;
    let bob = desk.server.user("bob").await;
    let tenant = json!({ "name": "kali-1", "tenant": bob.tenant_id() });
    let waiting = desk.agent(tenant).await.unwrap();
    let app = &desk.server.app;
    let shown = show(app, &desk.ada, waiting.code.clone()).await;
    assert!(matches!(shown, Err(ApiError::NotFound)));
    let page = Page::parse(None).unwrap();
    let of_bob = serde_json::to_value(list(app, &bob, &page).await.unwrap()).unwrap();
    assert_eq!(of_bob["items"][0]["code"], waiting.code.to_string());
    let of_ada = serde_json::to_value(list(app, &desk.ada, &page).await.unwrap()).unwrap();
    assert_eq!(of_ada["items"], json!([]));
    let unknown = json!({ "tenant": "01010101-0101-0101-0101-010101010101" });
    assert!(matches!(
        desk.agent(unknown).await,
        Err(ApiError::Invalid(_))
    ));
}

#[tokio::test]
async fn an_agent_without_a_name_needs_one_from_who_approves() {
    let desk = Desk::open().await;
    let waiting = desk.agent(json!({})).await.unwrap();
    let nameless = desk.approve(&waiting.code, json!({})).await;
    assert!(matches!(nameless, Err(ApiError::Invalid(_))));
    let named = desk
        .approve(&waiting.code, json!({ "name": "kali-7" }))
        .await;
    assert!(named.unwrap()["vm"].is_string());
}

#[tokio::test]
async fn waiting_agents_are_bounded() {
    let desk = Desk::open().await;
    let tenant = json!({ "tenant": desk.ada.tenant_id() });
    for _ in 0..64 {
        desk.agent(tenant.clone()).await.unwrap();
    }
    assert!(matches!(
        desk.agent(tenant).await,
        Err(ApiError::Overloaded)
    ));
}
