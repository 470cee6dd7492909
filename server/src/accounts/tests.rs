use std::time::Duration;

use serde_json::{Value, json};

use super::{
    add_api_key, change_me, change_password, close_me, export_me, forgot_password, register,
    resend_verification, reset_password, start_totp, verify_email,
};
use crate::config::Config;
use crate::error::ApiError;
use crate::sessions::{Origin, SignedIn, sign_in, signed_in};
use crate::store::{IdentityId, NewIdentity, TenantId, UserId, sql};
use crate::testing::{ORIGIN, Server, server, server_with};

const MAIL: &str = "ada@example.org";
const OLD: &str = "Violet-Harbour-7-Lantern";
const NEW: &str = "Copper-Meadow-4-Whistle";

fn request<T: serde::de::DeserializeOwned>(body: Value) -> T {
    serde_json::from_value(body).unwrap()
}

async fn register_ada(server: &Server) -> Value {
    let account = json!({ "username": "ada", "email": MAIL, "password": OLD });
    let registered = register(&server.app, &ORIGIN, request(account)).await;
    serde_json::to_value(registered.unwrap()).unwrap()
}

async fn try_password(server: &Server, password: &str) -> Result<Value, ApiError> {
    let claim = json!({ "email": MAIL, "password": password });
    let answer = sign_in(&server.app, &ORIGIN, request(claim)).await?;
    Ok(serde_json::to_value(answer).unwrap())
}

async fn reset(server: &Server, token: &str, password: &str) -> Result<(), ApiError> {
    let body = json!({ "token": token, "new_password": password });
    reset_password(&server.app, &ORIGIN, request(body)).await
}

async fn verify(server: &Server, token: &str) -> Result<(), ApiError> {
    verify_email(&server.app, &ORIGIN, request(json!({ "token": token }))).await
}

async fn forgot(server: &Server, email: &str) {
    let address = request(json!({ "email": email }));
    forgot_password(&server.app, &ORIGIN, address)
        .await
        .unwrap();
}

async fn resend(server: &Server, email: &str) {
    let address = request(json!({ "email": email }));
    resend_verification(&server.app, &ORIGIN, address)
        .await
        .unwrap();
}

/// The token of the only mail that went out.
async fn mailed_token(server: &Server) -> String {
    let [mail] = server.app.mailer.taken().await.try_into().unwrap();
    assert!(mail.contains("\r\nTo: ada@example.org\r\n"), "{mail}");
    let link = mail.lines().find(|line| line.starts_with("https://"));
    link.unwrap().split_once('#').unwrap().1.to_owned()
}

fn code<T>(result: Result<T, ApiError>) -> Option<&'static str> {
    result.err().map(|refused| refused.code())
}

fn must_verify() -> Config {
    let mut config = Config::for_tests();
    config.mail.must_verify = true;
    config
}

#[tokio::test]
async fn a_mailed_token_verifies_the_address_once() {
    let server = server().await;
    assert_eq!(register_ada(&server).await["email_verified"], false);
    let token = mailed_token(&server).await;
    verify(&server, &token).await.unwrap();
    let user = try_password(&server, OLD).await.unwrap();
    assert_eq!(user["user"]["email_verified"], true);
    assert_eq!(code(verify(&server, &token).await), Some("invalid_token"));
}

#[tokio::test]
async fn a_link_to_verify_is_over_after_a_day() {
    let server = server().await;
    register_ada(&server).await;
    let token = mailed_token(&server).await;
    server.clock.advance(Duration::from_secs(24 * 3_600));
    assert_eq!(code(verify(&server, &token).await), Some("invalid_token"));
}

#[tokio::test]
async fn where_an_address_must_be_verified_nobody_is_let_in_before() {
    let server = server_with(must_verify()).await;
    let made = register_ada(&server).await;
    assert_eq!(made["is_active"], false);
    assert!(made.get("access_token").is_none());
    assert_eq!(
        code(try_password(&server, OLD).await),
        Some("email_unverified")
    );
    assert_eq!(
        code(try_password(&server, NEW).await),
        Some("invalid_credentials")
    );
    let first = mailed_token(&server).await;
    resend(&server, MAIL).await;
    let second = mailed_token(&server).await;
    assert_ne!(first, second);
    verify(&server, &second).await.unwrap();
    try_password(&server, OLD).await.unwrap();
}

#[tokio::test]
async fn a_verified_or_unknown_address_gets_no_link_to_verify() {
    let server = server().await;
    register_ada(&server).await;
    let token = mailed_token(&server).await;
    verify(&server, &token).await.unwrap();
    for email in [MAIL, "eve@example.org"] {
        resend(&server, email).await;
    }
    assert!(server.app.mailer.taken().await.is_empty());
}

#[tokio::test]
async fn a_reset_needs_the_mailed_token_and_ends_every_session() {
    let server = server().await;
    let session = register_ada(&server).await;
    let verification = mailed_token(&server).await;
    forgot(&server, "ADA@example.org").await;
    let token = mailed_token(&server).await;
    assert_eq!(
        code(reset(&server, &verification, NEW).await),
        Some("invalid_token")
    );
    assert_eq!(code(verify(&server, &token).await), Some("invalid_token"));
    reset(&server, &token, NEW).await.unwrap();
    assert_eq!(
        code(try_password(&server, OLD).await),
        Some("invalid_credentials")
    );
    let again = try_password(&server, NEW).await.unwrap();
    assert_eq!(again["user"]["email_verified"], true);
    for member in ["access_token", "session_token"] {
        let old = session[member].as_str();
        assert_eq!(
            code(signed_in(&server.app, &ORIGIN, old).await),
            Some("unauthenticated")
        );
    }
}

#[tokio::test]
async fn a_reset_token_works_once_and_voids_the_others() {
    let server = server().await;
    register_ada(&server).await;
    mailed_token(&server).await;
    forgot(&server, MAIL).await;
    let one = mailed_token(&server).await;
    forgot(&server, MAIL).await;
    let other = mailed_token(&server).await;
    let (first, second) = tokio::join!(
        reset(&server, &one, NEW),
        reset(&server, &one, "Silver-Orchard-9-Kettle")
    );
    assert!(first.is_ok() != second.is_ok());
    for token in [&one, &other] {
        let late = reset(&server, token, "Marble-Thistle-3-Beacon").await;
        assert_eq!(code(late), Some("invalid_token"));
    }
}

#[tokio::test]
async fn a_reset_token_is_over_after_half_an_hour() {
    let server = server().await;
    register_ada(&server).await;
    mailed_token(&server).await;
    forgot(&server, MAIL).await;
    let token = mailed_token(&server).await;
    server.clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(
        code(reset(&server, &token, NEW).await),
        Some("invalid_token")
    );
}

#[tokio::test]
async fn a_weak_password_does_not_use_a_reset_token_up() {
    let server = server().await;
    register_ada(&server).await;
    mailed_token(&server).await;
    forgot(&server, MAIL).await;
    let token = mailed_token(&server).await;
    let refused = reset(&server, &token, "abc123").await.err().unwrap();
    assert_eq!(refused.code(), "weak_password");
    assert_eq!(refused.fields()[0].field, "new_password");
    reset(&server, &token, NEW).await.unwrap();
}

#[tokio::test]
async fn an_unknown_address_is_mailed_nothing() {
    let server = server().await;
    forgot(&server, "eve@example.org").await;
    assert!(server.app.mailer.taken().await.is_empty());
}

#[tokio::test]
async fn a_changed_password_keeps_only_the_session_that_changed_it() {
    let server = server().await;
    let first = register_ada(&server).await;
    let second = try_password(&server, OLD).await.unwrap();
    let bearer = first["session_token"].as_str();
    let caller = signed_in(&server.app, &ORIGIN, bearer).await.unwrap();
    let wrong = json!({ "current_password": NEW, "new_password": NEW });
    let refused = change_password(&server.app, &ORIGIN, &caller, request(wrong)).await;
    assert_eq!(code(refused), Some("invalid_input"));
    let right = json!({ "current_password": OLD, "new_password": NEW });
    change_password(&server.app, &ORIGIN, &caller, request(right))
        .await
        .unwrap();
    assert!(signed_in(&server.app, &ORIGIN, bearer).await.is_ok());
    let other = second["session_token"].as_str();
    assert!(signed_in(&server.app, &ORIGIN, other).await.is_err());
    try_password(&server, NEW).await.unwrap();
}

#[tokio::test]
async fn the_last_passwords_are_not_used_again() {
    let mut config = Config::for_tests();
    config.passwords.history = 3;
    let server = server_with(config).await;
    let session = register_ada(&server).await;
    let bearer = session["session_token"].as_str();
    let caller = signed_in(&server.app, &ORIGIN, bearer).await.unwrap();
    let change = async |from: &str, to: &str| {
        server.clock.advance(Duration::from_secs(1));
        let body = json!({ "current_password": from, "new_password": to });
        code(change_password(&server.app, &ORIGIN, &caller, request(body)).await)
    };
    let third = "Silver-Orchard-9-Kettle";
    assert_eq!(change(OLD, OLD).await, Some("weak_password"));
    assert_eq!(change(OLD, NEW).await, None);
    assert_eq!(change(NEW, OLD).await, Some("weak_password"));
    assert_eq!(change(NEW, third).await, None);
    assert_eq!(change(third, OLD).await, Some("weak_password"));
    assert_eq!(change(third, "Marble-Thistle-3-Beacon").await, None);
    assert_eq!(change("Marble-Thistle-3-Beacon", OLD).await, None);
}

async fn caller(server: &Server) -> SignedIn {
    let session = register_ada(server).await;
    let bearer = session["session_token"].as_str();
    signed_in(&server.app, &ORIGIN, bearer).await.unwrap()
}

async fn change(server: &Server, caller: &SignedIn, body: Value) -> Result<Value, ApiError> {
    let changed = change_me(&server.app, &ORIGIN, caller, request(body)).await?;
    Ok(serde_json::to_value(changed).unwrap())
}

#[tokio::test]
async fn a_new_address_is_unverified_and_the_old_one_is_told() {
    let server = server().await;
    let ada = caller(&server).await;
    let token = mailed_token(&server).await;
    verify(&server, &token).await.unwrap();
    forgot(&server, MAIL).await;
    let stale = mailed_token(&server).await;
    let new = "countess@example.org";
    for password in [None, Some(NEW)] {
        let body = json!({ "email": new, "current_password": password });
        let refused = change(&server, &ada, body).await.err().unwrap();
        assert_eq!(refused.fields()[0].field, "current_password");
    }
    let body = json!({ "email": new, "current_password": OLD });
    let me = change(&server, &ada, body).await.unwrap();
    assert_eq!(
        (&me["email"], &me["email_verified"]),
        (&json!(new), &json!(false))
    );
    let mails = server.app.mailer.taken().await;
    let to = |address: &str| {
        mails
            .iter()
            .any(|mail| mail.contains(&format!("\r\nTo: {address}\r\n")))
    };
    assert!(to(MAIL) && to(new) && mails.len() == 2);
    assert_eq!(
        code(reset(&server, &stale, NEW).await),
        Some("invalid_token")
    );
}

#[tokio::test]
async fn what_is_left_out_of_a_change_stays() {
    let server = server().await;
    let ada = caller(&server).await;
    let me = change(&server, &ada, json!({ "full_name": "Ada L." }))
        .await
        .unwrap();
    assert_eq!(
        (&me["username"], &me["full_name"]),
        (&json!("ada"), &json!("Ada L."))
    );
    let me = change(&server, &ada, json!({ "username": "countess" }))
        .await
        .unwrap();
    assert_eq!(
        (&me["username"], &me["full_name"]),
        (&json!("countess"), &json!("Ada L."))
    );
    let me = change(&server, &ada, json!({ "full_name": "" }))
        .await
        .unwrap();
    assert_eq!(
        (&me["email"], &me["full_name"]),
        (&json!(MAIL), &Value::Null)
    );
    server.user("eve").await;
    let taken = change(&server, &ada, json!({ "username": "EVE" })).await;
    assert_eq!(code(taken), Some("already_registered"));
}

#[tokio::test]
async fn a_closed_account_leaves_nothing_and_its_name_is_free() {
    let server = server().await;
    let ada = caller(&server).await;
    let wrong = request(json!({ "current_password": NEW }));
    let refused = close_me(&server.app, &ORIGIN, &ada, wrong).await;
    assert_eq!(code(refused), Some("invalid_input"));
    let right = request(json!({ "current_password": OLD }));
    close_me(&server.app, &ORIGIN, &ada, right).await.unwrap();
    assert_eq!(
        code(try_password(&server, OLD).await),
        Some("invalid_credentials")
    );
    for table in [
        "users",
        "tenants",
        "memberships",
        "sessions",
        "email_tokens",
    ] {
        let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        let rows: i64 = sql!(server.app.store, query_scalar(sql).fetch_one).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    register_ada(&server).await;
}

#[tokio::test]
async fn the_only_owner_of_others_does_not_leave_them() {
    const JOIN: &str = "INSERT INTO memberships (tenant_id, user_id, role, created_at) \
        VALUES ($1, $2, 'member', 9223372036854775807)";
    let server = server().await;
    let (ada, eve) = (caller(&server).await, server.user("eve").await);
    sql!(
        server.app.store,
        query(JOIN, ada.tenant_id(), eve.user_id()).execute
    )
    .unwrap();
    let closing = || request(json!({ "current_password": OLD }));
    let refused = close_me(&server.app, &ORIGIN, &ada, closing()).await;
    assert_eq!(code(refused), Some("last_owner"));
    let closing_eve = request(json!({ "current_password": "SecurePass123!" }));
    close_me(&server.app, &ORIGIN, &eve, closing_eve)
        .await
        .unwrap();
    close_me(&server.app, &ORIGIN, &ada, closing())
        .await
        .unwrap();
}

#[tokio::test]
async fn an_export_tells_everything_but_secrets() {
    let server = server().await;
    let token = server.register("ada").await;
    let origin = Origin {
        peer: Some("192.0.2.1".parse().unwrap()),
        user_agent: Some("a browser".into()),
        ..ORIGIN
    };
    // Ids sort by time.
    server.clock.advance(Duration::from_secs(1));
    let claim = json!({ "username": "ada", "password": "SecurePass123!" });
    sign_in(&server.app, &origin, request(claim)).await.unwrap();
    let ada = signed_in(&server.app, &ORIGIN, Some(&token)).await.unwrap();
    let eve = server.user("eve").await;
    become_member(&server, (eve.tenant_id(), ada.user_id()), "viewer").await;
    let key = json!({ "name": "backup" });
    add_api_key(&server.app, &ada, request(key)).await.unwrap();
    const THERE: &str = "INSERT INTO service_api_keys \
        (id, tenant_id, user_id, name, hint, key_hash, created_at) \
        SELECT zeroblob(16), $1, user_id, 'there', hint, zeroblob(32), created_at \
        FROM service_api_keys";
    sql!(server.app.store, query(THERE, eve.tenant_id()).execute).unwrap();
    identity_of(&server, &ada).await;

    let export = export_me(&server.app, &ada).await.unwrap();
    let export = serde_json::to_value(export).unwrap();
    assert_eq!(export["account"]["username"], "ada");
    let all = |member: &str, of: &str| -> Vec<String> {
        let items = export[member].as_array().unwrap().iter();
        items
            .map(|item| item[of].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(all("sessions", "user_agent"), ["a browser", ""]);
    assert_eq!(all("devices", "network"), ["192.0.2.0/24"]);
    assert_eq!(all("identities", "provider"), ["corp"]);
    assert_eq!(all("tenants", "role"), ["owner", "viewer"]);
    assert_eq!(all("api_keys", "name"), ["there", "backup"]);
    let places = [eve.tenant_id().to_string(), ada.tenant_id().to_string()];
    assert_eq!(all("api_keys", "tenant"), places);
    assert!(all("events", "action").contains(&"auth.register".to_owned()));
    assert_eq!(export["second_factors"]["totp"], false);
    let text = export.to_string();
    for secret in ["$2b$", "kfs_", "kf_"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_account_is_exported_ten_times_an_hour() {
    let server = server().await;
    let ada = caller(&server).await;
    for _ in 0..10 {
        export_me(&server.app, &ada).await.unwrap();
    }
    let refused = export_me(&server.app, &ada).await;
    assert_eq!(code(refused), Some("rate_limited"));
}

async fn identity_of(server: &Server, user: &SignedIn) {
    let now = server.app.clock.now();
    let identity = NewIdentity {
        id: IdentityId::new(now, &mut server.app.rng()),
        user_id: user.user_id(),
        provider: "corp",
        issuer: "https://id.example.org",
        subject: "ada-1",
        created_at: now,
    };
    let mut change = server.app.store.begin().await.unwrap();
    change.insert_identity(&identity).await.unwrap();
    change.commit().await.unwrap();
}

#[tokio::test]
async fn who_found_a_session_does_not_guess_the_password_for_long() {
    const NOTED: &str =
        "SELECT COUNT(*) FROM audit_events WHERE action = 'security.password_refused'";
    let server = server().await;
    let ada = caller(&server).await;
    let origin = Origin {
        peer: Some("192.0.2.1".parse().unwrap()),
        ..ORIGIN
    };
    let change = async |current: &str| {
        let body = json!({ "current_password": current, "new_password": NEW });
        code(change_password(&server.app, &origin, &ada, request(body)).await)
    };
    let close = async |current: &str| {
        let body = json!({ "current_password": current });
        code(close_me(&server.app, &origin, &ada, request(body)).await)
    };
    for _ in 0..2 {
        assert_eq!(change("Wrong-Guess-1").await, Some("invalid_input"));
        assert_eq!(close("Wrong-Guess-1").await, Some("invalid_input"));
        let set_up = request(json!({ "current_password": "Wrong-Guess-1" }));
        let refused = start_totp(&server.app, &origin, &ada, set_up).await;
        assert!(refused.is_err());
    }
    for password in ["Wrong-Guess-1", OLD] {
        assert_eq!(change(password).await, Some("rate_limited"));
        assert_eq!(close(password).await, Some("rate_limited"));
    }
    let noted: i64 = sql!(server.app.store, query_scalar(NOTED).fetch_one).unwrap();
    assert_eq!(noted, 5, "the others were not looked at");
}

async fn become_member(server: &Server, (tenant, user): (TenantId, UserId), role: &str) {
    let mut change = server.app.store.begin().await.unwrap();
    let now = server.app.clock.now();
    change
        .insert_membership((tenant, user), role, now)
        .await
        .unwrap();
    change.commit().await.unwrap();
}

/// Closes both accounts at once, and tells what the one who may not is told.
async fn close_both(server: &Server, both: [&SignedIn; 2]) -> Option<&'static str> {
    let close = async |who: &SignedIn| {
        let closing = request(json!({ "current_password": "SecurePass123!" }));
        code(close_me(&server.app, &ORIGIN, who, closing).await)
    };
    // The database keeps both waiting until their passwords were checked.
    let both_are_checked = async {
        let held = server.app.store.begin().await.unwrap();
        for _ in 0..4 {
            server.app.hasher.check("another", None).await.unwrap();
        }
        drop(held);
    };
    let (one, other, ()) = tokio::join!(
        Box::pin(close(both[0])),
        Box::pin(close(both[1])),
        both_are_checked
    );
    assert!(one.is_none() || other.is_none(), "one may");
    one.or(other)
}

#[tokio::test]
async fn of_two_owners_who_close_their_accounts_at_once_one_stays() {
    let server = server().await;
    let [ada, eve, bob] = [
        server.user("ada").await,
        server.user("eve").await,
        server.user("bob").await,
    ];
    become_member(&server, (ada.tenant_id(), eve.user_id()), "owner").await;
    become_member(&server, (ada.tenant_id(), bob.user_id()), "member").await;
    assert_eq!(close_both(&server, [&ada, &eve]).await, Some("last_owner"));
}

#[tokio::test]
async fn of_two_admins_who_close_their_accounts_at_once_one_stays() {
    const SQL: &str = "UPDATE users SET server_admin = $1";
    let server = server().await;
    let (ada, eve) = (server.user("ada").await, server.user("eve").await);
    sql!(server.app.store, query(SQL, true).execute).unwrap();
    assert_eq!(close_both(&server, [&ada, &eve]).await, Some("last_owner"));
}

#[tokio::test]
async fn of_two_new_names_the_one_that_is_taken_is_blamed() {
    let server = server().await;
    let ada = caller(&server).await;
    let eve = json!({ "username": "eve", "email": "eve@example.org", "password": NEW });
    register(&server.app, &ORIGIN, request(eve)).await.unwrap();
    for (username, email, taken) in [
        ("countess", "eve@example.org", "email"),
        ("eve", "countess@example.org", "username"),
    ] {
        let body = json!({ "username": username, "email": email, "current_password": OLD });
        let refused = change(&server, &ada, body).await.err().unwrap();
        assert_eq!(refused.fields()[0].field, taken);
    }
}

#[tokio::test]
async fn nobody_takes_a_name_that_looks_like_an_id() {
    let server = server().await;
    let ada = caller(&server).await;
    let id = server.user("eve").await.user_id().to_string();
    for name in [id.clone(), id.replace('-', ""), id.to_uppercase()] {
        let refused = change(&server, &ada, json!({ "username": name })).await;
        assert_eq!(refused.err().unwrap().fields()[0].field, "username");
        let account = json!({ "username": name, "password": NEW });
        let refused = register(&server.app, &ORIGIN, request(account)).await;
        assert_eq!(code(refused), Some("invalid_input"));
    }
}
