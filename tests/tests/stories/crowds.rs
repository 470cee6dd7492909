//! An invitation leads neither into a tenant that is full nor beyond what one person may belong to.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_tests::{Engine, PASSWORD, Server, Stage, on_both_engines};
use secrecy::SecretString;
use serde_json::{Value, json};

on_both_engines!(an_invitation_waits_until_there_is_room);

async fn an_invitation_waits_until_there_is_room(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = register(&server, "ada").await;
    let bob = register(&server, "bob").await;
    let invite = json!({ "email": "bob@example.org", "role": "viewer" });
    post(&server, &ada, ("/invitations", invite)).await;
    let token = stage.mailed_token("kfi_").await;
    let accept = async || {
        let token = json!({ "token": token });
        let joined = post(&server, &bob, ("/invitations/accept", token)).await;
        joined["code"].as_str().unwrap_or("joined").to_owned()
    };

    assert_eq!(stage.change(crowd(engine)).await, 9_999);
    assert_eq!(stage.change(CROWD_JOINS_ADA).await, 9_999);
    assert_eq!(accept().await, "too_many", "the tenant is full");
    assert_eq!(stage.change(ONE_LEAVES).await, 1);

    assert_eq!(stage.change(tenants(engine)).await, 99);
    assert_eq!(stage.change(BOB_JOINS_ALL).await, 99);
    assert_eq!(accept().await, "too_many", "bob is in a hundred tenants");
    assert_eq!(
        stage.change("DELETE FROM tenants WHERE name = '7'").await,
        1
    );
    assert_eq!(accept().await, "joined");
    assert_eq!(accept().await, "not_found", "it counts once");
}

fn crowd(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) \
             INSERT INTO users (id, username_key, password_hash, status, email_verified, \
             server_admin, failed_login_attempts, password_changed_at, created_at) \
             SELECT randomblob(16), 'one-' || i, '!', 'active', FALSE, FALSE, 0, 0, i FROM n"
        }
        Engine::Postgres => {
            "INSERT INTO users (id, username_key, password_hash, status, email_verified, \
             server_admin, failed_login_attempts, password_changed_at, created_at) \
             SELECT gen_random_uuid(), 'one-' || i, '!', 'active', FALSE, FALSE, 0, 0, i \
             FROM generate_series(1, 9999) i"
        }
    }
}

fn tenants(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99) \
             INSERT INTO tenants (id, name, created_at, plan) \
             SELECT randomblob(16), i, 0, 'pro' FROM n"
        }
        Engine::Postgres => {
            "INSERT INTO tenants (id, name, created_at, plan) \
             SELECT gen_random_uuid(), i, 0, 'pro' FROM generate_series(1, 99) i"
        }
    }
}

async fn register(server: &Server, name: &str) -> SecretString {
    let account = json!({ "username": name, "password": PASSWORD });
    let made = server.ask(Method::POST, "/auth/register", None, Some(account));
    made.await.body["access_token"].as_str().unwrap().into()
}

async fn post(server: &Server, bearer: &SecretString, (path, body): (&str, Value)) -> Value {
    let answer = server.ask(Method::POST, path, Some(bearer), Some(body));
    answer.await.body
}

const CROWD_JOINS_ADA: &str = "INSERT INTO memberships (tenant_id, user_id, role, created_at) \
    SELECT m.tenant_id, u.id, 'viewer', 0 FROM memberships m \
    JOIN users a ON a.id = m.user_id, users u \
    WHERE a.username = 'ada' AND u.password_hash = '!'";
const ONE_LEAVES: &str = "DELETE FROM memberships WHERE user_id IN \
    (SELECT id FROM users WHERE username_key = 'one-7')";
const BOB_JOINS_ALL: &str = "INSERT INTO memberships (tenant_id, user_id, role, created_at) \
    SELECT t.id, u.id, 'viewer', 9000000000000000 FROM tenants t, users u \
    WHERE t.plan = 'pro' AND u.username = 'bob'";
