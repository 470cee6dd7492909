//! Addresses are verified, and passwords reset, by mailed tokens.

use super::*;
use crate::accounts::Email;
use crate::accounts::mailed_token::MailedToken;
use crate::store::EmailTokenPurpose;

async fn resend(server: &Server, email: &str) {
    let address = request(json!({ "email": email }));
    resend_verification(&server.app, &ORIGIN, address)
        .await
        .unwrap();
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
async fn of_too_many_links_the_oldest_are_over() {
    let server = server().await;
    register_ada(&server).await;
    mailed_token(&server).await;
    let address: Email = MAIL.parse().unwrap();
    let user = server.app.store.user_by_email(&address).await;
    let user = user.unwrap().unwrap().id;
    let mut tokens = Vec::new();
    for _ in 0..101 {
        server.clock.advance(Duration::from_secs(1));
        let mut change = server.app.store.begin().await.unwrap();
        let mail = MailedToken::new(&server.app, EmailTokenPurpose::Verify, user, &address);
        let mail = mail.keep(&server.app, &mut change).await.unwrap();
        change.commit().await.unwrap();
        let start = mail.text.find("kfe_").unwrap();
        let token = mail.text[start..].split_whitespace().next();
        tokens.push(token.unwrap().to_owned());
    }
    assert_eq!(
        code(verify(&server, &tokens[0]).await),
        Some("invalid_token")
    );
    verify(&server, &tokens[1]).await.unwrap();
}

#[tokio::test]
async fn where_an_address_must_be_verified_nobody_is_let_in_before() {
    const TOLD: &str = "SELECT COUNT(*) FROM audit_events WHERE action = 'auth.login_refused' \
        AND subject IS NOT NULL AND detail LIKE '%email_unverified%'";
    let server = server_with(must_verify()).await;
    let made = register_ada(&server).await;
    assert_eq!(made["is_active"], false);
    assert!(made.get("access_token").is_none());
    assert_eq!(
        code(try_password(&server, OLD).await),
        Some("email_unverified")
    );
    let told: i64 = sql!(server.app.store, query_scalar(TOLD).fetch_one).unwrap();
    assert_eq!(told, 1, "who was refused is known");
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
