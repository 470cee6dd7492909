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
    let ada = register(&server).await;
    let others = match engine {
        Engine::Sqlite => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) \
             INSERT INTO sessions (id, tenant_id, user_id, token_hash, created_at, expires_at) \
             SELECT randomblob(16), s.tenant_id, s.user_id, randomblob(32), i, s.expires_at \
             FROM n, sessions s"
        }
        Engine::Postgres => {
            "INSERT INTO sessions (id, tenant_id, user_id, token_hash, created_at, expires_at) \
             SELECT gen_random_uuid(), s.tenant_id, s.user_id, decode(md5(i::text), 'hex'), i, \
             s.expires_at FROM generate_series(1, 250) i, sessions s"
        }
    };
    assert_eq!(stage.change(others).await, 250);
    let elsewhere = "INSERT INTO tenants (id, name, created_at, plan) \
        SELECT u.id, 'Elsewhere', 0, 'pro' FROM users u";
    assert_eq!(stage.change(elsewhere).await, 1);
    let moved = "UPDATE sessions SET tenant_id = user_id WHERE created_at <= 7";
    assert_eq!(stage.change(moved).await, 7);
    let devices = match engine {
        Engine::Sqlite => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150) \
             INSERT INTO devices SELECT randomblob(16), u.id, randomblob(32), 'old', \
             '192.0.2.0/24', i, i FROM n, users u"
        }
        Engine::Postgres => {
            "INSERT INTO devices SELECT gen_random_uuid(), u.id, decode(md5(i::text), 'hex'), \
             'old', '192.0.2.0/24', i, i FROM generate_series(1, 150) i, users u"
        }
    };
    assert_eq!(stage.change(devices).await, 150);

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
    let ada = register(&server).await;
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
    let ada = register(&server).await;
    let invitations = match engine {
        Engine::Sqlite => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
             INSERT INTO invitations SELECT randomblob(16), t.id, i, i, 'viewer', randomblob(32), \
             NULL, i, 9000000000000000 FROM n, tenants t"
        }
        Engine::Postgres => {
            "INSERT INTO invitations SELECT gen_random_uuid(), t.id, i, i, 'viewer', \
             decode(md5(i::text), 'hex'), NULL, i, 9000000000000000 \
             FROM generate_series(1, 500) i, tenants t"
        }
    };
    assert_eq!(stage.change(invitations).await, 500);
    let new = json!({ "email": "bob@example.org", "role": "viewer" });
    assert_eq!(
        code(&server, &ada, "POST /invitations", new.clone()).await,
        "too_many"
    );
    stage
        .change("DELETE FROM invitations WHERE email = '7'")
        .await;
    assert_eq!(code(&server, &ada, "POST /invitations", new).await, "");

    let roles = match engine {
        Engine::Sqlite => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
             INSERT INTO roles SELECT t.id, 'role-' || i, '[]', i FROM n, tenants t"
        }
        Engine::Postgres => {
            "INSERT INTO roles SELECT t.id, 'role-' || i, '[]', i \
             FROM generate_series(1, 1000) i, tenants t"
        }
    };
    assert_eq!(stage.change(roles).await, 1000);
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
    let ada = register(&server).await;
    let tenants = match engine {
        Engine::Sqlite => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 98) \
             INSERT INTO tenants (id, name, created_at, plan) \
             SELECT randomblob(16), i, 0, 'pro' FROM n"
        }
        Engine::Postgres => {
            "INSERT INTO tenants (id, name, created_at, plan) \
             SELECT gen_random_uuid(), i, 0, 'pro' FROM generate_series(1, 98) i"
        }
    };
    assert_eq!(stage.change(tenants).await, 98);
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
    let ada = register(&server).await;
    let bob = account(&server, "bob").await;
    let keys = match engine {
        Engine::Sqlite => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
             INSERT INTO provider_keys (id, tenant_id, name, provider, policy, status, \
             current_version, created_at) SELECT randomblob(16), m.tenant_id, 'key-' || i, \
             'openai', '{}', CASE i WHEN 1 THEN 'revoked' ELSE 'active' END, 1, i \
             FROM n, memberships m JOIN users u ON u.id = m.user_id WHERE u.username = 'ada'"
        }
        Engine::Postgres => {
            "INSERT INTO provider_keys (id, tenant_id, name, provider, policy, status, \
             current_version, created_at) SELECT gen_random_uuid(), m.tenant_id, 'key-' || i, \
             'openai', '{}', CASE i WHEN 1 THEN 'revoked' ELSE 'active' END, 1, i \
             FROM generate_series(1, 1000) i, memberships m JOIN users u ON u.id = m.user_id \
             WHERE u.username = 'ada'"
        }
    };
    assert_eq!(stage.change(keys).await, 1000);
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
async fn code(server: &Server, bearer: &SecretString, line: &str, body: Value) -> String {
    let (method, path) = line.split_once(' ').unwrap();
    let method = method.parse().unwrap();
    let answer = server.ask(method, path, Some(bearer), Some(body)).await;
    answer.body["code"].as_str().unwrap_or_default().to_owned()
}

async fn register(server: &Server) -> SecretString {
    account(server, "ada").await
}

async fn account(server: &Server, name: &str) -> SecretString {
    let account = json!({ "username": name, "password": PASSWORD });
    let path = "/auth/register";
    let made = server.ask(Method::POST, path, None, Some(account)).await;
    made.body["access_token"].as_str().unwrap().into()
}
