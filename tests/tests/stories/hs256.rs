//! Access tokens with a shared secret, for services that cannot check signatures.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding};
use hyper::Method;
use keyferry_tests::{Engine, PASSWORD, Server, Stage, on_both_engines};
use serde_json::{Value, json};

on_both_engines!(
    a_service_checks_tokens_with_the_shared_secret,
    a_short_secret_is_refused_at_the_start,
);

const SECRET: &str = "a shared secret of more than thirty-two bytes";

async fn a_service_checks_tokens_with_the_shared_secret(engine: Engine) {
    let stage = Stage::new(engine).await;
    let settings = [("JWT_ALGORITHM", "HS256"), ("JWT_SECRET_KEY", SECRET)];
    let mut server = Server::start_with(&stage, &settings);
    let account = json!({ "username": "ada", "password": PASSWORD });
    let made = server
        .ask(Method::POST, "/auth/register", None, Some(account))
        .await;
    let token = made.body["access_token"].as_str().unwrap().to_owned();
    let (message, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(signature, sign(SECRET, message));
    let (header, claims) = message.split_once('.').unwrap();
    assert_eq!(part(header)["alg"], "HS256");
    assert_eq!(part(claims)["roles"], json!(["owner"]));
    assert_eq!(me(&server, &token).await, 200);
    let keys = server
        .ask(Method::GET, "/.well-known/jwks.json", None, None)
        .await;
    assert_eq!(keys.body["keys"], json!([]), "a shared secret is published");

    let other = |alg: &str, secret: &str| {
        let mut head = part(header);
        head["alg"] = json!(alg);
        let head = Base64UrlUnpadded::encode_string(head.to_string().as_bytes());
        let message = format!("{head}.{claims}");
        let signature = sign(secret, &message);
        format!("{message}.{signature}")
    };
    assert_eq!(
        me(&server, &other("HS256", SECRET)).await,
        200,
        "the control is refused"
    );
    let unsigned = other("none", SECRET);
    for (what, forged) in [
        (
            "another secret",
            other("HS256", "another secret of more than thirty bytes"),
        ),
        ("no secret", other("HS256", "")),
        ("HS512", other("HS512", SECRET)),
        ("EdDSA", other("EdDSA", SECRET)),
        ("none", unsigned.clone()),
        (
            "no signature",
            format!("{}.", unsigned.rsplit_once('.').unwrap().0),
        ),
    ] {
        assert_eq!(me(&server, &forged).await, 401, "{what}");
    }

    // With another secret the tokens of the old one are worth nothing; the session goes on.
    server.kill();
    let another = [
        ("JWT_ALGORITHM", "HS256"),
        ("JWT_SECRET_KEY", "quite another secret, and long enough"),
    ];
    let server = Server::start_with(&stage, &another);
    assert_eq!(me(&server, &token).await, 401);
    let session = made.body["session_token"].as_str().unwrap();
    assert_eq!(me(&server, session).await, 200);
}

async fn a_short_secret_is_refused_at_the_start(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let mut refused = server.run_beside(&stage, "short", |command| {
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command
            .env("JWT_ALGORITHM", "HS256")
            .env("JWT_SECRET_KEY", "thirty-one bytes are not enough");
    });
    assert!(!refused.wait().success());
    assert!(
        refused.log().contains("JWT_SECRET_KEY"),
        "{}",
        refused.log()
    );
}

async fn me(server: &Server, token: &str) -> u16 {
    let me = server
        .ask(Method::GET, "/auth/me", Some(&token.into()), None)
        .await;
    me.status.as_u16()
}

fn sign(secret: &str, message: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    Base64UrlUnpadded::encode_string(hmac::sign(&key, message.as_bytes()).as_ref())
}

fn part(text: &str) -> Value {
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(text).unwrap()).unwrap()
}
