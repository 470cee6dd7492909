//! An invitation leads neither into a tenant that is full nor beyond what one person may belong to.

use keyferry_tests::{Engine, Server, Stage, on_both_engines};
use serde_json::json;

use crate::bounds::{TENANTS, code, register};

on_both_engines!(an_invitation_waits_until_there_is_room);

async fn an_invitation_waits_until_there_is_room(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = register(&server, "ada").await;
    let bob = register(&server, "bob").await;
    let invite = json!({ "email": "bob@example.org", "role": "viewer" });
    code(&server, &ada, "POST /invitations", invite).await;
    let token = stage.mailed_token("kfi_").await;
    let accept = async || {
        let token = json!({ "token": token });
        code(&server, &bob, "POST /invitations/accept", token).await
    };

    assert_eq!(stage.change_by_numbers(9_999, CROWD).await, 9_999);
    assert_eq!(stage.change(CROWD_JOINS_ADA).await, 9_999);
    assert_eq!(accept().await, "too_many", "the tenant is full");
    assert_eq!(stage.change(ONE_LEAVES).await, 1);

    assert_eq!(stage.change_by_numbers(99, TENANTS).await, 99);
    assert_eq!(stage.change(BOB_JOINS_ALL).await, 99);
    assert_eq!(accept().await, "too_many", "bob is in a hundred tenants");
    assert_eq!(
        stage.change("DELETE FROM tenants WHERE name = '7'").await,
        1
    );
    assert_eq!(accept().await, "", "there is room");
    assert_eq!(accept().await, "not_found", "it counts once");
}

const CROWD: &str = "INSERT INTO users (id, username_key, password_hash, status, email_verified, \
    server_admin, failed_login_attempts, password_changed_at, created_at) \
    SELECT NEW_ID, 'one-' || i, '!', 'active', FALSE, FALSE, 0, 0, i FROM NUMBERS";
const CROWD_JOINS_ADA: &str = "INSERT INTO memberships (tenant_id, user_id, role, created_at) \
    SELECT m.tenant_id, u.id, 'viewer', 0 FROM memberships m \
    JOIN users a ON a.id = m.user_id, users u \
    WHERE a.username = 'ada' AND u.password_hash = '!'";
const ONE_LEAVES: &str = "DELETE FROM memberships WHERE user_id IN \
    (SELECT id FROM users WHERE username_key = 'one-7')";
const BOB_JOINS_ALL: &str = "INSERT INTO memberships (tenant_id, user_id, role, created_at) \
    SELECT t.id, u.id, 'viewer', 9000000000000000 FROM tenants t, users u \
    WHERE t.plan = 'pro' AND u.username = 'bob'";
