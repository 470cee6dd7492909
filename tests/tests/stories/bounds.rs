//! Nobody keeps more than their share: what is old goes, or there is a clear answer.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_tests::{Engine, PASSWORD, Server, Stage, on_both_engines};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::closed_accounts::log_in_from;

on_both_engines!(
    of_too_many_sessions_and_devices_the_oldest_go,
    nobody_has_more_than_a_hundred_api_keys,
    a_tenant_has_no_more_than_so_many_invitations_and_roles,
    nobody_belongs_to_more_than_a_hundred_tenants,
    a_tenant_has_no_more_than_a_thousand_keys,
);

async fn of_too_many_sessions_and_devices_the_oldest_go(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = register(&server, "ada").await;
    let others = "INSERT INTO sessions \
        (id, tenant_id, user_id, token_hash, created_at, expires_at) \
        SELECT NEW_ID, s.tenant_id, s.user_id, NEW_HASH, i, s.expires_at FROM NUMBERS, sessions s";
    assert_eq!(stage.change_by_numbers(250, others).await, 250);
    let elsewhere = "INSERT INTO tenants (id, name, created_at, plan) \
        SELECT u.id, 'Elsewhere', 0, 'pro' FROM users u";
    assert_eq!(stage.change(elsewhere).await, 1);
    let moved = "UPDATE sessions SET tenant_id = user_id WHERE created_at <= 7";
    assert_eq!(stage.change(moved).await, 7);
    let devices = "INSERT INTO devices \
        SELECT NEW_ID, u.id, NEW_HASH, 'old', '192.0.2.0/24', i, i FROM NUMBERS, users u";
    assert_eq!(stage.change_by_numbers(150, devices).await, 150);

    assert_eq!(log_in_from(&server, "127.0.0.1", PASSWORD).status, 200);
    let live = "SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL";
    assert_eq!(stage.count(live).await, 200);
    let oldest = "SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL AND created_at <= 52";
    assert_eq!(stage.count(oldest).await, 0);
    let told = "SELECT COUNT(*) FROM audit_events WHERE action = 'auth.session_ended' \
        AND detail LIKE '%too_many%'";
    assert_eq!(stage.count(told).await, 52);
    let told_there = "SELECT COUNT(*) FROM audit_events e JOIN tenants t ON t.id = e.tenant_id \
        WHERE e.action = 'auth.session_ended' AND t.name = 'Elsewhere'";
    assert_eq!(stage.count(told_there).await, 7, "each tenant its own");
    let me = server.ask(Method::GET, "/auth/me", Some(&ada), None).await;
    assert_eq!(me.status, 200, "the session that was used last goes on");
    let known = "SELECT COUNT(*) FROM devices";
    assert_eq!(stage.count(known).await, 100);
    let old = "SELECT COUNT(*) FROM devices WHERE user_agent = 'old' AND last_seen_at <= 52";
    assert_eq!(stage.count(old).await, 0);
}

async fn nobody_has_more_than_a_hundred_api_keys(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = register(&server, "ada").await;
    let add = async || {
        let new = Some(json!({ "name": "backup" }));
        let path = "/auth/api-keys";
        server.ask(Method::POST, path, Some(&ada), new).await
    };
    let first = add().await;
    for _ in 1..100 {
        assert_eq!(add().await.status, 201);
    }
    let refused = add().await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["code"]),
        (409, &json!("too_many"))
    );
    let path = format!("/auth/api-keys/{}", first.body["id"].as_str().unwrap());
    server.ask(Method::DELETE, &path, Some(&ada), None).await;
    assert_eq!(add().await.status, 201);
}

async fn a_tenant_has_no_more_than_so_many_invitations_and_roles(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start_with(&stage, &[("AUTH_INVITATIONS_PER_HOUR", "0")]);
    let ada = register(&server, "ada").await;
    let invitations = "INSERT INTO invitations SELECT NEW_ID, t.id, i, i, 'viewer', NEW_HASH, NULL, \
        i, 9000000000000000 FROM NUMBERS, tenants t";
    assert_eq!(stage.change_by_numbers(500, invitations).await, 500);
    let new = json!({ "email": "bob@example.org", "role": "viewer" });
    assert_eq!(
        code(&server, &ada, "POST /invitations", new.clone()).await,
        "too_many"
    );
    stage
        .change("DELETE FROM invitations WHERE email = '7'")
        .await;
    assert_eq!(code(&server, &ada, "POST /invitations", new).await, "");

    let roles = "INSERT INTO roles SELECT t.id, 'role-' || i, '[]', i FROM NUMBERS, tenants t";
    assert_eq!(stage.change_by_numbers(1000, roles).await, 1000);
    let permits = json!({ "permissions": ["code:generate"] });
    assert_eq!(
        code(&server, &ada, "PUT /roles/coder", permits.clone()).await,
        "too_many"
    );
    assert_eq!(code(&server, &ada, "PUT /roles/role-7", permits).await, "");
}

async fn nobody_belongs_to_more_than_a_hundred_tenants(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = register(&server, "ada").await;
    assert_eq!(stage.change_by_numbers(98, TENANTS).await, 98);
    let joined = "INSERT INTO memberships SELECT t.id, u.id, 'owner', 0 FROM tenants t, users u \
        WHERE t.plan = 'pro'";
    assert_eq!(stage.change(joined).await, 98);
    stage.change("UPDATE tenants SET plan = 'pro'").await;
    let new = json!({ "name": "One more" });
    assert_eq!(code(&server, &ada, "POST /tenants", new.clone()).await, "");
    stage.change("UPDATE tenants SET plan = 'pro'").await;
    assert_eq!(code(&server, &ada, "POST /tenants", new).await, "too_many");
}

async fn a_tenant_has_no_more_than_a_thousand_keys(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = register(&server, "ada").await;
    let bob = register(&server, "bob").await;
    let keys = "INSERT INTO provider_keys (id, tenant_id, name, provider, policy, status, \
        current_version, created_at) SELECT NEW_ID, m.tenant_id, 'key-' || i, 'openai', '{}', \
        CASE i WHEN 1 THEN 'revoked' ELSE 'active' END, 1, i \
        FROM NUMBERS, memberships m JOIN users u ON u.id = m.user_id WHERE u.username = 'ada'";
    assert_eq!(stage.change_by_numbers(1000, keys).await, 1000);
    let new = json!({ "provider": "openai", "value": "sk-example" });
    let put = async |who, name: &str| {
        let line = format!("PUT /keys/{name}");
        code(&server, who, &line, new.clone()).await
    };
    assert_eq!(put(&ada, "last").await, "", "a revoked one does not count");
    assert_eq!(put(&ada, "more").await, "too_many");
    assert_eq!(
        put(&bob, "first").await,
        "",
        "another tenant's do not count"
    );
    stage
        .change("UPDATE provider_keys SET status = 'revoked' WHERE name = 'key-7'")
        .await;
    assert_eq!(put(&ada, "more").await, "");
}

/// The code of a refusal, or nothing.
pub(crate) async fn code(
    server: &Server,
    bearer: &SecretString,
    line: &str,
    body: Value,
) -> String {
    let (method, path) = line.split_once(' ').unwrap();
    let method = method.parse().unwrap();
    let answer = server.ask(method, path, Some(bearer), Some(body)).await;
    answer.body["code"].as_str().unwrap_or_default().to_owned()
}

pub(crate) async fn register(server: &Server, name: &str) -> SecretString {
    let account = json!({ "username": name, "password": PASSWORD });
    let path = "/auth/register";
    let made = server.ask(Method::POST, path, None, Some(account)).await;
    made.body["access_token"].as_str().unwrap().into()
}

/// As many as there are numbers.
pub(crate) const TENANTS: &str = "INSERT INTO tenants (id, name, created_at, plan) \
    SELECT NEW_ID, i, 0, 'pro' FROM NUMBERS";
