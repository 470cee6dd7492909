//! A provider that lies in every way that it can.

mod lying_provider;

use std::sync::atomic::Ordering;
use std::time::Duration;

use josekit::jwk::Jwk;
use josekit::jws::{HS256, JwsSigner, RS256};
use serde_json::{Value, json};

use super::{Arrival, ProviderName, Return, Waiting, come_back, depart};
use crate::config::Config;
use crate::error::ApiError;
use crate::sessions::SignInOutcome;
use crate::store::sql;
use crate::testing::{self, ORIGIN, Server};
use lying_provider::{CLIENT, Provider, token};

/// A sign-in under way.
struct Browser {
    cookie: String,
    state: String,
    nonce: String,
}

fn corp() -> ProviderName {
    "corp".parse().unwrap()
}

async fn begin(server: &Server, program: Option<Waiting>) -> Browser {
    let departure = depart(&server.app, &ORIGIN, &corp(), program)
        .await
        .unwrap();
    let member = |name: &str| {
        let (_, rest) = departure.location.split_once(&format!("{name}=")).unwrap();
        rest.split('&').next().unwrap().to_owned()
    };
    Browser {
        state: member("state"),
        nonce: member("nonce"),
        cookie: departure.secret.to_string(),
    }
}

async fn end(server: &Server, browser: &Browser) -> Result<Arrival, ApiError> {
    let returned = Return {
        code: Some("a code".to_owned()),
        state: Some(browser.state.clone()),
        ..Return::default()
    };
    let brought = (returned, Some(browser.cookie.as_str()));
    come_back(&server.app, &ORIGIN, &corp(), brought).await
}

/// Signs in with a token that says this.
async fn sign_in_with(
    provider: &Provider,
    server: &Server,
    change: impl Fn(&mut Value),
) -> Result<Value, ApiError> {
    let browser = begin(server, None).await;
    let mut claims = provider.claims(server, &browser.nonce);
    change(&mut claims);
    provider.gives(provider.signed(&claims));
    match end(server, &browser).await? {
        Arrival::Page(outcome) => Ok(serde_json::to_value(*outcome).unwrap()),
        Arrival::Program(..) => panic!("a page began it"),
    }
}

fn code(outcome: Result<impl Sized, ApiError>) -> &'static str {
    outcome.err().map_or("none", |refused| refused.code())
}

/// What is wrong with the provider's word.
fn fault(outcome: Result<impl Sized, ApiError>) -> String {
    match outcome {
        Err(ApiError::ProviderFailed(cause)) => cause.to_string(),
        other => code(other).to_owned(),
    }
}

#[tokio::test]
async fn somebody_new_gets_an_account_and_comes_back_to_it() {
    let provider = Provider::start().await;
    let server = provider.server().await;
    let first = sign_in_with(&provider, &server, |_| {}).await.unwrap();
    assert_eq!(first["user"]["email"], "ada@example.org");
    assert_eq!(first["user"]["email_verified"], true);
    // The address may change there: the subject is who it is.
    let change = |claims: &mut Value| claims["email"] = json!("ada@elsewhere.org");
    let again = sign_in_with(&provider, &server, change).await.unwrap();
    assert_eq!(again["user_id"], first["user_id"]);
    for secret in ["!", "", "a secret"] {
        let claim = json!({ "email": "ada@example.org", "password": secret });
        let claim = serde_json::from_value(claim).unwrap();
        let refused = crate::sessions::sign_in(&server.app, &ORIGIN, claim).await;
        assert_eq!(code(refused), "invalid_credentials", "no password fits");
    }
}

#[tokio::test]
async fn a_closed_account_is_closed_to_who_comes_from_the_provider_too() {
    let provider = Provider::start().await;
    let server = provider.server().await;
    sign_in_with(&provider, &server, |_| {}).await.unwrap();
    sql!(server.app.store, query(CLOSE).execute).unwrap();
    let known = sign_in_with(&provider, &server, |_| {}).await;
    assert_eq!(code(known), "invalid_credentials");
    let by_address = |claims: &mut Value| claims["sub"] = json!("ada-2");
    let unknown = sign_in_with(&provider, &server, by_address).await;
    assert_eq!(code(unknown), "invalid_credentials");
    let told: i64 = sql!(server.app.store, query_scalar(TOLD).fetch_one).unwrap();
    assert_eq!(told, 2);
}

#[tokio::test]
async fn an_account_has_no_more_than_twenty_identities() {
    const MORE: &str = "INSERT INTO identities (id, user_id, provider, issuer, subject, \
        created_at, last_used_at) WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL \
        SELECT i + 1 FROM n WHERE i < 20) \
        SELECT randomblob(16), user_id, provider, issuer, i, 0, 0 FROM n, identities";
    let provider = Provider::start().await;
    let server = provider.server().await;
    sign_in_with(&provider, &server, |_| {}).await.unwrap();
    let made = sql!(server.app.store, query(MORE).execute).unwrap();
    assert_eq!(made, 19);
    let by_address = |claims: &mut Value| claims["sub"] = json!("one more");
    let refused = sign_in_with(&provider, &server, by_address).await;
    assert_eq!(code(refused), "too_many");
    let gone = "DELETE FROM identities WHERE subject = '7'";
    sql!(server.app.store, query(gone).execute).unwrap();
    sign_in_with(&provider, &server, by_address).await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_signs_nobody_in() {
    let provider = Provider::start().await;
    let server = provider.server().await;
    for (member, lie, told) in [
        ("iss", json!("https://evil.example"), "another issuer"),
        ("aud", json!("another client"), "another client"),
        ("aud", json!(["another client", CLIENT]), "another client"),
        ("azp", json!("another client"), "another client"),
        ("nonce", json!("of another sign-in"), "another sign-in"),
        ("nonce", Value::Null, "another sign-in"),
        ("exp", json!(-60), "too old"),
        ("iat", json!(300), "future"),
        ("iat", json!(-3_600), "too old"),
        ("nbf", json!(300), "future"),
        ("sub", json!(""), "malformed"),
    ] {
        let now = server.app.clock.now().seconds();
        let lie = lie.as_i64().map_or(lie, |seconds| json!(now + seconds));
        let change = |claims: &mut Value| claims[member] = lie.clone();
        let refused = fault(sign_in_with(&provider, &server, change).await);
        assert!(refused.contains(told), "{member}: {lie}: {refused}");
        server.clock.advance(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn only_the_providers_own_signature_counts() {
    let provider = Provider::start().await;
    let server = provider.server().await;
    let public = provider.key.to_public_key().unwrap().to_string();
    let shared = HS256.signer_from_bytes(public.as_bytes()).unwrap();
    let mut stranger = Jwk::generate_rsa_key(2048).unwrap();
    stranger.set_key_id("one");
    let forger = RS256.signer_from_jwk(&stranger).unwrap();
    let embedded = stranger.to_public_key().unwrap();
    let none = |_: &[u8]| Vec::new();
    let hmac = |message: &[u8]| shared.sign(message).unwrap();
    let forged = |message: &[u8]| forger.sign(message).unwrap();
    type Sign<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let signed = "signed in a way";
    let cases: [(Value, Sign<'_>, &str); 7] = [
        (json!({ "alg": "none" }), &none, signed),
        (json!({ "alg": "None", "kid": "one" }), &none, signed),
        (json!({ "alg": "HS256", "kid": "one" }), &hmac, signed),
        (
            json!({ "alg": "RS256", "kid": "one" }),
            &forged,
            "signature",
        ),
        (
            json!({ "alg": "RS256", "kid": "another" }),
            &forged,
            "does not publish",
        ),
        (
            json!({ "alg": "RS256", "kid": "one", "jwk": embedded.as_ref() }),
            &forged,
            "signature",
        ),
        (
            json!({ "alg": "RS256", "kid": "one", "crit": ["exp"] }),
            &forged,
            "malformed",
        ),
    ];
    for (header, sign, told) in cases {
        let browser = begin(&server, None).await;
        let claims = provider.claims(&server, &browser.nonce);
        provider.gives(token(&header, &claims, sign));
        let refused = fault(end(&server, &browser).await);
        assert!(refused.contains(told), "{header}: {refused}");
    }
    let browser = begin(&server, None).await;
    let good = provider.signed(&provider.claims(&server, &browser.nonce));
    provider.gives(format!("{good}="));
    assert_eq!(
        code(end(&server, &browser).await),
        "provider_failed",
        "another form of base64"
    );
}

#[tokio::test]
async fn a_sign_in_ends_once_and_only_where_it_began() {
    let provider = Provider::start().await;
    let server = provider.server().await;
    let (mine, other) = (begin(&server, None).await, begin(&server, None).await);
    provider.gives(provider.signed(&provider.claims(&server, &mine.nonce)));
    let mixed = Browser {
        cookie: other.cookie.clone(),
        state: mine.state.clone(),
        nonce: String::new(),
    };
    assert_eq!(
        code(end(&server, &mixed).await),
        "invalid_sign_in",
        "another browser's state"
    );
    let bare = (Return::default(), None);
    let refused = come_back(&server.app, &ORIGIN, &corp(), bare).await;
    assert_eq!(code(refused), "invalid_sign_in", "no cookie");
    end(&server, &mine).await.unwrap();
    assert_eq!(
        code(end(&server, &mine).await),
        "invalid_sign_in",
        "the same state again"
    );
    server.clock.advance(Duration::from_secs(601));
    assert_eq!(
        code(end(&server, &other).await),
        "invalid_sign_in",
        "too late"
    );
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_not_taken() {
    let provider = Provider::start().await;
    let server = provider.server().await;
    let browser = begin(&server, None).await;
    provider.gives(provider.signed(&provider.claims(&server, &browser.nonce)));
    let returned = Return {
        code: Some("a code".to_owned()),
        state: Some(browser.state.clone()),
        issuer: Some("https://evil.example".to_owned()),
        error: None,
    };
    let brought = (returned, Some(browser.cookie.as_str()));
    let refused = come_back(&server.app, &ORIGIN, &corp(), brought).await;
    assert_eq!(code(refused), "invalid_sign_in");
}

#[tokio::test]
async fn accounts_are_linked_only_by_an_address_that_both_sides_have_verified() {
    const VERIFY: &str = "UPDATE users SET email_verified = $1";
    let provider = Provider::start().await;
    let server = provider.server().await;
    let account = json!({ "email": "ada@example.org", "password": "SecurePass123!" });
    let account = serde_json::from_value(account).unwrap();
    let made = crate::accounts::register(&server.app, &ORIGIN, account)
        .await
        .unwrap();
    let made = serde_json::to_value(made).unwrap();
    let refused = sign_in_with(&provider, &server, |_| {}).await;
    assert_eq!(code(refused), "account_exists", "it is not verified here");
    sql!(server.app.store, query(VERIFY, true).execute).unwrap();
    for unproven in [json!(false), json!("false"), json!(1), Value::Null] {
        let change = |claims: &mut Value| claims["email_verified"] = unproven.clone();
        let refused = sign_in_with(&provider, &server, change).await;
        assert_eq!(code(refused), "provider_email_unverified", "{unproven}");
    }
    let linked = sign_in_with(&provider, &server, |_| {}).await.unwrap();
    assert_eq!(linked["user_id"], made["id"]);
    let mails = server.app.mailer.taken().await;
    assert!(
        mails
            .last()
            .unwrap()
            .contains("Your account at Corp can sign in")
    );
}

/// A program's sign-in that has come back from the provider: what to exchange.
async fn given_to_a_program(provider: &Provider, server: &Server) -> Value {
    let challenge = <sha2::Sha256 as sha2::Digest>::digest(b"known to the program").into();
    let waiting = Waiting {
        port: 4711,
        challenge,
    };
    let browser = begin(server, Some(waiting)).await;
    provider.gives(provider.signed(&provider.claims(server, &browser.nonce)));
    let Arrival::Program(4711, Ok(given)) = end(server, &browser).await.unwrap() else {
        panic!("a program began it")
    };
    json!({ "code": *given, "verifier": "known to the program" })
}

async fn redeem(server: &Server, brought: &Value) -> Result<SignInOutcome, ApiError> {
    let brought = serde_json::from_value(brought.clone()).unwrap();
    super::redeem(&server.app, &ORIGIN, brought).await
}

#[tokio::test]
async fn a_program_gets_its_session_with_what_it_alone_knows() {
    let provider = Provider::start().await;
    let server = provider.server().await;
    let known = given_to_a_program(&provider, &server).await;
    let guessed = json!({ "code": known["code"], "verifier": "guessed" });
    assert_eq!(code(redeem(&server, &guessed).await), "invalid_sign_in");
    let outcome = redeem(&server, &known).await.unwrap();
    assert!(matches!(outcome, SignInOutcome::Complete(_)));
    let twice = redeem(&server, &known).await;
    assert_eq!(code(twice), "invalid_sign_in");
}

#[tokio::test]
async fn an_account_that_was_closed_meanwhile_is_closed_to_the_program_too() {
    let provider = Provider::start().await;
    let server = provider.server().await;
    let known = given_to_a_program(&provider, &server).await;
    sql!(server.app.store, query(CLOSE).execute).unwrap();
    let refused = redeem(&server, &known).await;
    assert_eq!(code(refused), "invalid_credentials");
    let told: i64 = sql!(server.app.store, query_scalar(TOLD).fetch_one).unwrap();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_provider_that_calls_itself_otherwise_is_not_believed() {
    let provider = Provider::start().await;
    let mut config = Config::for_tests();
    let mut settings = provider.settings();
    settings.issuer = provider.issuer.replace("127.0.0.1", "localhost");
    config.providers = vec![settings];
    let server = testing::server_with(config).await;
    let refused = depart(&server.app, &ORIGIN, &corp(), None).await;
    assert_eq!(code(refused), "provider_failed");
}

#[tokio::test]
async fn a_provider_that_is_away_is_not_asked_by_every_sign_in() {
    let provider = Provider::start().await;
    let server = provider.server().await;
    let known = server.app.providers.named(&corp()).unwrap();
    let now = || server.app.clock.now();
    provider.away.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(known.known(now()).await.is_err());
    }
    let once = provider.asked.load(Ordering::Relaxed);
    assert_eq!(once, 1);

    provider.away.store(false, Ordering::Relaxed);
    server.clock.advance(Duration::from_secs(30));
    known.known(now()).await.unwrap();
    provider.away.store(true, Ordering::Relaxed);
    server.clock.advance(Duration::from_secs(3_600));
    let before = provider.asked.load(Ordering::Relaxed);
    for _ in 0..3 {
        known.known(now()).await.unwrap();
        known.known_again(now()).await.unwrap();
    }
    assert_eq!(provider.asked.load(Ordering::Relaxed), before + 1);

    provider.away.store(false, Ordering::Relaxed);
    server.clock.advance(Duration::from_secs(30));
    known.known(now()).await.unwrap();
    assert!(provider.asked.load(Ordering::Relaxed) > before + 1);
}

const CLOSE: &str = "UPDATE users SET status = 'disabled'";
const TOLD: &str = "SELECT COUNT(*) FROM audit_events WHERE action = 'auth.login_refused' \
    AND subject IS NOT NULL";
