//! Who is shut out while a request of theirs is under way does not finish it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_cli::rest::Ask;
use keyferry_tests::{Engine, HeldBack, PASSWORD, Server, Stage, on_both_engines};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

on_both_engines!(
    who_holds_a_body_back_is_looked_at_again_when_it_comes,
    who_holds_a_body_back_is_counted_once,
);

async fn who_holds_a_body_back_is_looked_at_again_when_it_comes(engine: Engine) {
    let team = Team::of(engine).await;
    let (server, bob) = (&team.server, team.in_adas_tenant().await);
    let vm = Some(json!({ "name": "kali" }));
    let vm = server.ask(Method::POST, "/vms", Some(&bob), vm).await.body;
    let vm = vm["id"].as_str().unwrap();

    let promotion = json!({ "role": "admin" });
    let promotion = team.begin(&bob, (&team.bobs_place(), promotion)).await;
    assert_eq!(team.ada_makes_bob("viewer").await, 200);
    assert_eq!(refused(promotion).await, (403, "forbidden".to_owned()));
    assert_eq!(team.ada_makes_bob("admin").await, 200);

    let email = json!({ "email": "back-door@example.org", "role": "admin" });
    let invitation = team.begin(&bob, ("POST /invitations", email)).await;
    let ticket = format!("POST /vms/{vm}/ticket");
    let ticket = team.begin(&bob, (&ticket, json!({}))).await;
    let path = format!("/members/{}", team.bob_id);
    let removed = server.ask(Method::DELETE, &path, Some(&team.ada), None);
    assert_eq!(removed.await.status, 204);
    assert_eq!(refused(invitation).await, signed_out());
    assert_eq!(refused(ticket).await, signed_out());
    for sql in [
        "SELECT COUNT(*) FROM invitations",
        "SELECT COUNT(*) FROM tickets",
    ] {
        assert_eq!(team.stage.count(sql).await, 0, "{sql}");
    }
}

async fn who_holds_a_body_back_is_counted_once(engine: Engine) {
    let team = Team::of(engine).await;
    let new = ("PATCH /auth/me", json!({ "full_name": "Bob" }));
    let change = team.begin(&team.bob, new).await;
    let answer = change.finish().await;
    assert_eq!(answer.status, 200);
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("ratelimit-remaining: 99"), "{head}");
}

/// The look at the caller was the last before the role was taken away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_taken_away_just_before_the_change_counts_no_more() {
    let team = Team::of(Engine::Postgres).await;
    let bob = team.in_adas_tenant().await;
    let mut held = team.stage.hold("SELECT 1 FROM tenants FOR UPDATE").await;
    let (rest, path) = (team.server.rest(), format!("/members/{}", team.bob_id));
    let promoting = tokio::spawn(async move {
        let promotion = json!({ "role": "admin" }).to_string();
        let ask = Ask::new(Method::PATCH, &path).signed_in(&bob);
        rest.exchange(ask.json(promotion.into())).await.unwrap()
    });
    team.stage.until_waiting().await;
    held.change("UPDATE memberships SET role = 'viewer' WHERE role = 'admin'")
        .await;
    held.commit().await;
    assert_eq!(promoting.await.unwrap().status, 403);
    let admins = "SELECT COUNT(*) FROM memberships WHERE role = 'admin'";
    assert_eq!(team.stage.count(admins).await, 0);
}

fn signed_out() -> (u16, String) {
    (401, "unauthenticated".to_owned())
}

/// Ada owns a tenant in which Bob is an admin.
struct Team {
    server: Server,
    stage: Stage,
    ada: SecretString,
    bob: SecretString,
    bob_id: String,
}

impl Team {
    async fn of(engine: Engine) -> Self {
        let stage = Stage::new(engine).await;
        let settings = [
            ("KEYFERRY_PLAIN_HTTP", "true"),
            ("AUTH_ENABLE_RATE_LIMITING", "true"),
        ];
        let server = Server::start_with(&stage, &settings);
        let ada = register(&server, "ada").await;
        let bob = register(&server, "bob").await;
        let join = "INSERT INTO memberships (tenant_id, user_id, role, created_at) \
            SELECT m.tenant_id, b.id, 'admin', 9000000000000000 FROM memberships m \
            JOIN users a ON a.id = m.user_id, users b \
            WHERE a.username = 'ada' AND b.username = 'bob'";
        assert_eq!(stage.change(join).await, 1);
        Self {
            ada: token(&ada),
            bob: token(&bob),
            bob_id: bob["id"].as_str().unwrap().to_owned(),
            server,
            stage,
        }
    }

    /// Bob's session in Ada's tenant.
    async fn in_adas_tenant(&self) -> SecretString {
        let me = self
            .server
            .ask(Method::GET, "/auth/me", Some(&self.ada), None);
        let me = me.await.body;
        let path = format!("/tenants/{}/enter", me["tenant"]["id"].as_str().unwrap());
        let entered = self.server.ask(Method::POST, &path, Some(&self.bob), None);
        token(&entered.await.body)
    }

    async fn begin(&self, bearer: &SecretString, (line, body): (&str, Value)) -> HeldBack {
        let bearer = format!("Authorization: Bearer {}\r\n", bearer.expose_secret());
        HeldBack::begin(&self.server, (line, &bearer), &body).await
    }

    fn bobs_place(&self) -> String {
        format!("PATCH /members/{}", self.bob_id)
    }

    async fn ada_makes_bob(&self, role: &str) -> u16 {
        let path = format!("/members/{}", self.bob_id);
        let role = Some(json!({ "role": role }));
        let changed = self.server.ask(Method::PATCH, &path, Some(&self.ada), role);
        changed.await.status.as_u16()
    }
}

/// The status and the code of the answer to the whole request.
async fn refused(request: HeldBack) -> (u16, String) {
    let answer = request.finish().await;
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    (answer.status, problem["code"].as_str().unwrap().to_owned())
}

async fn register(server: &Server, name: &str) -> Value {
    let account = json!({ "username": name, "password": PASSWORD });
    let made = server.ask(Method::POST, "/auth/register", None, Some(account));
    made.await.body
}

fn token(body: &Value) -> SecretString {
    body["session_token"].as_str().unwrap().into()
}
