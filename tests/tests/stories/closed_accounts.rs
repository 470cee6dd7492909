//! Accounts that are closed or locked: nobody comes in, and an admin opens them again.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_tests::{
    CurlAnswer, Engine, Operator, PASSWORD, Person, Server, Stage, curl, on_both_engines,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::operators::admin;

on_both_engines!(
    a_closed_account_is_out_everywhere_until_it_is_opened,
    a_locked_account_waits_until_an_admin_unlocks_it,
    an_account_that_waits_for_its_address_waits_on_when_it_is_opened_again,
    the_last_admin_who_can_sign_in_is_not_closed,
);

async fn a_closed_account_is_out_everywhere_until_it_is_opened(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let root = admin(&stage, &server);
    let account = json!({ "username": "ada", "password": PASSWORD });
    let path = "/auth/register";
    let ada = server
        .ask(Method::POST, path, None, Some(account))
        .await
        .body;
    let session = bearer(&ada["access_token"]);
    let new = json!({ "name": "backup" });
    let path = "/auth/api-keys";
    let key = server
        .ask(Method::POST, path, Some(&session), Some(new))
        .await
        .body;
    let tokens = [&ada["access_token"], &ada["session_token"], &key["key"]].map(bearer);
    for token in &tokens {
        assert_eq!(me(&server, token).await, 200);
    }

    root.run(&["admin", "disable", "ada"], b"").success();
    for token in &tokens {
        assert_eq!(me(&server, token).await, 401);
    }
    let refresh = json!({ "refresh_token": ada["refresh_token"] });
    let path = "/auth/refresh";
    let refused = server
        .ask(Method::POST, path, None, Some(refresh.clone()))
        .await;
    assert_eq!(refused.body["code"], "invalid_refresh_token");
    let right = log_in_from(&server, "127.0.0.2", PASSWORD);
    let wrong = log_in_from(&server, "127.0.0.3", "not-her-password");
    assert_eq!(
        (right.status, &right.body["code"]),
        (401, &json!("invalid_credentials"))
    );
    assert_eq!(right.body, wrong.body, "nobody learns that it is closed");

    root.run(&["admin", "enable", "ada"], b"").success();
    for token in &tokens[..2] {
        assert_eq!(
            me(&server, token).await,
            401,
            "a session that has ended stays so"
        );
    }
    let refused = server.ask(Method::POST, path, None, Some(refresh)).await;
    assert_eq!(refused.body["code"], "invalid_refresh_token");
    assert_eq!(me(&server, &tokens[2]).await, 200, "her program goes on");
    assert_eq!(log_in_from(&server, "127.0.0.4", PASSWORD).status, 200);
}

async fn a_locked_account_waits_until_an_admin_unlocks_it(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let root = admin(&stage, &server);
    let ada = Person::register(&stage, &server, "ada");
    let session = json!({ "username": "root", "password": PASSWORD });
    let path = "/auth/login";
    let session = server
        .ask(Method::POST, path, None, Some(session))
        .await
        .body;
    let session = bearer(&session["access_token"]);
    for way in ["rest", "command", "host"] {
        lock(&server);
        let refused = log_in_from(&server, "127.0.0.7", PASSWORD);
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (429, &json!("rate_limited"))
        );
        let wait: u64 = refused.field("Retry-After").unwrap().parse().unwrap();
        assert!((800..=900).contains(&wait), "{wait}");
        ada.run(&["keys", "list"], b"").success();
        let shown = root.ask(&["admin", "user", "ada"]);
        assert_eq!(
            (&shown["status"], &shown["failed_login_attempts"]),
            (&json!("locked"), &json!(5))
        );
        assert!(shown["locked_until"].is_string(), "{shown}");

        match way {
            "rest" => {
                let path = "/admin/users/ada/unlock";
                let done = server.ask(Method::POST, path, Some(&session), None).await;
                assert_eq!(done.body["status"], "active", "{}", done.body);
                assert_eq!(done.body["locked_until"], Value::Null);
            }
            "command" => drop(root.run(&["admin", "unlock", "ada"], b"").success()),
            _ => drop(
                Operator::of(&stage)
                    .run(&["admin", "unlock", "ada"], b"")
                    .success(),
            ),
        }
        assert_eq!(
            log_in_from(&server, "127.0.0.7", PASSWORD).status,
            200,
            "{way}"
        );
    }
    let told = "SELECT COUNT(*) FROM audit_events WHERE action = 'security.account_locked'";
    assert_eq!(stage.count(told).await, 3);
}

async fn an_account_that_waits_for_its_address_waits_on_when_it_is_opened_again(engine: Engine) {
    let stage = Stage::new(engine).await;
    let settings = [("AUTH_ENABLE_EMAIL_VERIFICATION", "true")];
    let server = Server::start_with(&stage, &settings);
    let root = admin(&stage, &server);
    let mail = "ada@example.org";
    let account = json!({ "username": "ada", "email": mail, "password": PASSWORD });
    let path = "/auth/register";
    server.ask(Method::POST, path, None, Some(account)).await;
    assert_eq!(root.ask(&["admin", "enable", "ada"])["status"], "pending");
    assert_eq!(root.ask(&["admin", "disable", "ada"])["status"], "disabled");
    assert_eq!(root.ask(&["admin", "enable", "ada"])["status"], "pending");
    let refused = log_in_from(&server, "127.0.0.2", PASSWORD);
    assert_eq!(refused.body["code"], "email_unverified");
    let told = Operator::of(&stage)
        .run(&["admin", "enable", "ada"], b"")
        .success();
    assert!(told.output.contains("waits"), "{}", told.output);

    let token = json!({ "token": stage.mailed_token("kfe_").await });
    let path = "/auth/email/verify";
    let proven = server.ask(Method::POST, path, None, Some(token)).await;
    assert_eq!(proven.status, 204, "{}", proven.body);
    assert_eq!(log_in_from(&server, "127.0.0.2", PASSWORD).status, 200);
}

async fn the_last_admin_who_can_sign_in_is_not_closed(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let root = admin(&stage, &server);
    let operator = Operator::of(&stage);
    let refused = operator.run(&["admin", "disable", "root"], b"");
    assert_ne!(refused.code, 0);
    assert!(
        refused.errors.contains("at least one admin"),
        "{}",
        refused.errors
    );
    let create = [
        "admin",
        "create",
        "--username",
        "second",
        "--password-stdin",
    ];
    operator.run(&create, PASSWORD.as_bytes()).success();
    let second = Person::sign_in(&stage, (&server, "second"), "second");
    let close = |admin: &Person<'_>, whom: &str| admin.run(&["admin", "disable", whom], b"").code;
    let closed = std::thread::scope(|both| {
        let other = both.spawn(|| close(&second, "root"));
        [close(&root, "second"), other.join().unwrap()]
    });
    let done = closed.iter().filter(|code| **code == 0).count();
    assert_eq!(done, 1, "{closed:?}");
    let open = "SELECT COUNT(*) FROM users WHERE server_admin AND status = 'active'";
    assert_eq!(stage.count(open).await, 1);
    let left = if closed[0] == 0 { &root } else { &second };
    let close = ["account", "close", "--password-stdin"];
    let refused = left.run(&close, PASSWORD.as_bytes());
    assert!(
        refused.errors.contains("at least one admin"),
        "{}",
        refused.errors
    );
}

/// Five wrong passwords for ada, each from another address of one network.
pub(crate) fn lock(server: &Server) {
    for last in 2..7 {
        let wrong = log_in_from(server, &format!("127.0.0.{last}"), "not-her-password");
        assert_eq!(wrong.body["code"], "invalid_credentials");
    }
}

/// A login of ada's from one of the addresses of this machine.
pub(crate) fn log_in_from(server: &Server, address: &str, password: &str) -> CurlAnswer {
    let claim = json!({ "username": "ada", "password": password }).to_string();
    let json = "Content-Type: application/json";
    let arguments = [
        "--insecure",
        "--interface",
        address,
        "--header",
        json,
        "--data",
        &claim,
    ];
    curl(server, "/auth/login", &arguments)
}

async fn me(server: &Server, token: &SecretString) -> u16 {
    let answer = server.ask(Method::GET, "/auth/me", Some(token), None).await;
    answer.status.as_u16()
}

fn bearer(token: &Value) -> SecretString {
    token.as_str().unwrap().into()
}
