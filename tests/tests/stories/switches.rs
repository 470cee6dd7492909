//! What the operator switches off: it is refused by its name, and what there is goes on.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_cli::rest::Answer;
use keyferry_tests::{
    Browser, Engine, OidcProvider, Operator, PASSWORD, Person, Server, Stage, curl, on_both_engines,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::closed_accounts::{lock, log_in_from};
use crate::operators::admin;

on_both_engines!(
    without_registration_no_stranger_gets_an_account,
    where_strangers_may_not_register_admins_make_accounts,
    without_api_keys_and_reset_what_there_is_goes_on,
    without_lockout_an_account_is_not_locked,
    without_rate_limiting_a_plan_bounds_no_requests,
);

async fn without_registration_no_stranger_gets_an_account(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut provider = OidcProvider::start(&stage);
    let server = Server::start_with(&stage, &[("AUTH_ENABLE_REGISTRATION", "false")]);
    provider.meet(&server);
    let refused = post(&server, "/auth/register", None, account()).await;
    assert_switched_off(&refused);
    let there = post(&server, "/auth/login", None, account()).await;
    assert_eq!(there.body["code"], "invalid_credentials");
    let start = format!("{}/auth/providers/corp/start", server.url());
    let by_provider = Browser::new(&stage, "one", "ada").open(&start);
    assert_eq!(
        (by_provider.status, &by_provider.body["code"]),
        (403, &json!("switched_off"))
    );
    let eve = Person::new(&stage, "eve");
    let contact = [
        "--server",
        server.url(),
        "--fingerprint",
        server.fingerprint(),
    ];
    let register = ["register", "--username", "eve", "--password-stdin"];
    let refused = eve.run(&[&register[..], &contact].concat(), PASSWORD.as_bytes());
    assert_eq!(refused.code, 1);
    assert!(
        refused.errors.contains("switched this off"),
        "{}",
        refused.errors
    );
}

async fn where_strangers_may_not_register_admins_make_accounts(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start_with(&stage, &[("AUTH_ENABLE_REGISTRATION", "false")]);
    let contact = [
        "--server",
        server.url(),
        "--fingerprint",
        server.fingerprint(),
    ];
    let root = admin(&stage, &server);
    let add = ["admin", "add-user", "bob@example.org", "--username", "bob"];
    assert_eq!(root.ask(&add)["status"], "active");
    let again = root.run(&add, b"");
    assert_eq!(again.code, 1, "{}", again.output);
    let bob = Person::new(&stage, "bob");
    let reset = ["password", "reset", "--password-stdin"];
    let answer = format!("{}\n{PASSWORD}", stage.mailed_token("kfe_").await);
    bob.run(&[&reset[..], &contact].concat(), answer.as_bytes())
        .success();
    bob.log_in(&server, "bob");
    assert_eq!(bob.ask(&["account", "show"])["email_verified"], true);
    let carl = [
        "admin",
        "add-user",
        "--username",
        "carl",
        "--email",
        "carl@example.org",
    ];
    let carl = [&carl[..], &["--password-stdin"]].concat();
    stage.forget_mails();
    Operator::of(&stage)
        .run(&carl, PASSWORD.as_bytes())
        .success();
    assert!(
        stage.mailed("kfe_").is_some(),
        "the command ends when its mail is out"
    );
    Person::new(&stage, "carl").log_in(&server, "carl");
    assert_eq!(root.ask(&["admin", "user", "carl"])["server_admin"], false);
}

async fn without_api_keys_and_reset_what_there_is_goes_on(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let mut account = account();
    account["email"] = json!("ada@example.org");
    let made = post(&server, "/auth/register", None, account).await.body;
    let session: SecretString = made["access_token"].as_str().unwrap().into();
    let new = json!({ "name": "backup" });
    let key = post(&server, "/auth/api-keys", Some(&session), new.clone())
        .await
        .body;
    assert!(server.terminate().success());

    let off = [
        ("AUTH_ENABLE_API_KEYS", "false"),
        ("AUTH_ENABLE_PASSWORD_RESET", "false"),
    ];
    let server = Server::start_with(&stage, &off);
    let refused = post(&server, "/auth/api-keys", Some(&session), new).await;
    assert_switched_off(&refused);
    let forgot = json!({ "email": "ada@example.org" });
    assert_switched_off(&post(&server, "/auth/password/forgot", None, forgot).await);
    let program: SecretString = key["key"].as_str().unwrap().into();
    let keys = server.ask(Method::GET, "/keys", Some(&program), None).await;
    assert_eq!(keys.status, 200, "a key that is there goes on");
    let listed = server
        .ask(Method::GET, "/auth/api-keys", Some(&session), None)
        .await;
    let path = format!(
        "/auth/api-keys/{}",
        listed.body["items"][0]["id"].as_str().unwrap()
    );
    let revoked = server
        .ask(Method::DELETE, &path, Some(&session), None)
        .await;
    assert_eq!(revoked.status, 204);
}

async fn without_lockout_an_account_is_not_locked(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start_with(&stage, &[("AUTH_ENABLE_ACCOUNT_LOCKOUT", "false")]);
    post(&server, "/auth/register", None, account()).await;
    lock(&server);
    assert_eq!(log_in_from(&server, "127.0.0.7", PASSWORD).status, 200);
    for _ in 0..4 {
        log_in_from(&server, "127.0.0.2", "not-her-password");
    }
    let address = log_in_from(&server, "127.0.0.2", PASSWORD);
    assert_eq!(address.status, 429, "an address waits all the same");
}

async fn without_rate_limiting_a_plan_bounds_no_requests(engine: Engine) {
    for (switch, bounded) in [("true", true), ("false", false)] {
        let stage = Stage::new(engine).await;
        let server = Server::start_with(&stage, &[("AUTH_ENABLE_RATE_LIMITING", switch)]);
        let made = post(&server, "/auth/register", None, account()).await.body;
        let token = made["access_token"].as_str().unwrap();
        let session: SecretString = token.into();
        // The plan allows a hundred a minute, and one more with each part of it that goes by.
        let mut refused = 0;
        for _ in 0..150 {
            let answer = server
                .ask(Method::GET, "/auth/me", Some(&session), None)
                .await;
            refused += u32::from(answer.status == 429);
        }
        assert_eq!(refused > 0, bounded, "{refused} refused");
        let bearer = format!("Authorization: Bearer {token}");
        let next = curl(&server, "/auth/me", &["--insecure", "--header", &bearer]);
        assert_eq!(
            next.field("RateLimit-Limit").is_some(),
            bounded,
            "{}",
            next.head
        );
    }
}

fn assert_switched_off(answer: &Answer) {
    let told = (answer.status.as_u16(), &answer.body["code"]);
    assert_eq!(told, (403, &json!("switched_off")));
}

fn account() -> Value {
    json!({ "username": "ada", "password": PASSWORD })
}

async fn post(server: &Server, path: &str, token: Option<&SecretString>, body: Value) -> Answer {
    server.ask(Method::POST, path, token, Some(body)).await
}
