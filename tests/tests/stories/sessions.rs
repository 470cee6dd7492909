//! Sessions and limits, as their users and strangers meet them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::{Method, StatusCode};
use keyferry_cli::rest::Answer;
use keyferry_tests::{Engine, PASSWORD, Person, Server, Stage, binary, on_both_engines, until};
use secrecy::SecretString;
use serde_json::{Value, json};

on_both_engines!(
    logins_under_way_end_with_the_password_that_began_them,
    six_wrong_passwords_make_the_right_one_wait,
    a_lockout_outlives_a_killed_server,
    a_user_sees_and_ends_their_sessions,
    a_lost_answer_to_a_refresh_logs_nobody_out,
    a_refresh_whose_server_died_before_the_answer_is_repeated,
    a_token_that_is_used_again_after_the_grace_ends_its_session,
    a_fourth_registration_within_an_hour_waits,
    a_person_ends_a_session_from_the_command_line,
);

async fn logins_under_way_end_with_the_password_that_began_them(engine: Engine) {
    let stage = Stage::new(engine).await;
    let settings = [
        ("AUTH_MAX_FAILED_ATTEMPTS", "0"),
        ("AUTH_ENABLE_ACCOUNT_LOCKOUT", "false"),
    ];
    let server = Server::start_with(&stage, &settings);
    let ada = token(&register(&server, "ada").await, "access_token");
    let passwords = [
        PASSWORD,
        "Copper-Meadow-4-Whistle",
        "Silver-Orchard-9-Kettle",
    ];
    for both in passwords.windows(2) {
        let changed = AtomicBool::new(false);
        let change = async {
            let body = json!({ "current_password": both[0], "new_password": both[1] });
            let path = "/auth/password/change";
            let answer = server.ask(Method::POST, path, Some(&ada), Some(body)).await;
            assert_eq!(answer.status, 204, "{}", answer.body);
            changed.store(true, Ordering::Relaxed);
        };
        let keep_on = async || {
            let mut entered = Vec::new();
            while !changed.load(Ordering::Relaxed) {
                entered.push(login(&server, "ada", both[0]).await);
            }
            entered
        };
        let logins = futures_util::future::join_all((0..6).map(|_| keep_on()));
        let ((), entered) = tokio::join!(change, logins);
        let entered = entered.iter().flatten();
        for entered in entered.filter(|answer| answer.status == 200) {
            for kind in ["access_token", "session_token"] {
                let old = token(&entered.body, kind);
                let me = ask(&server, Method::GET, "/auth/me", &old).await;
                assert_eq!(me.status, 401, "a login outlived its password");
            }
        }
    }
    assert_eq!(login(&server, "ada", passwords[2]).await.status, 200);
}

async fn six_wrong_passwords_make_the_right_one_wait(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    register(&server, "ada").await;
    for _ in 0..5 {
        let wrong = login(&server, "ada", "Violet-Harbour-7-Lanterm").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    }
    let sixth = login(&server, "ada", "Violet-Harbour-7-Lanterm").await;
    let right = login(&server, "ada", PASSWORD).await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((&sixth.body, sixth.status), (&right.body, right.status));
}

async fn a_lockout_outlives_a_killed_server(engine: Engine) {
    let (stage, mut server) = stage(engine).await;
    register(&server, "ada").await;
    for _ in 0..5 {
        login(&server, "ada", "Violet-Harbour-7-Lanterm").await;
    }
    server.crash_and_restart(&stage);
    let right = login(&server, "ada", PASSWORD).await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS);
}

async fn a_user_sees_and_ends_their_sessions(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let first = register(&server, "ada").await;
    let second = login(&server, "ada", PASSWORD).await.body;
    let access = token(&second, "access_token");
    let list = ask(&server, Method::GET, "/auth/sessions", &access).await;
    assert_eq!(list.status, StatusCode::OK);
    let items = list.body["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|one| one["address"] == "127.0.0.1"));
    let other = items.iter().find(|one| one["current"] == false).unwrap();
    let path = format!("/auth/sessions/{}", other["id"].as_str().unwrap());
    let ended = ask(&server, Method::DELETE, &path, &access).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    let gone = ask(
        &server,
        Method::GET,
        "/auth/me",
        &token(&first, "access_token"),
    )
    .await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);

    let out = ask(&server, Method::POST, "/auth/logout-all", &access).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    for name in ["access_token", "session_token"] {
        let gone = ask(&server, Method::GET, "/auth/me", &token(&second, name)).await;
        assert_eq!(gone.status, StatusCode::UNAUTHORIZED, "{name}");
    }
}

async fn a_lost_answer_to_a_refresh_logs_nobody_out(engine: Engine) {
    let (stage, mut server) = stage(engine).await;
    let session = register(&server, "ada").await;
    // The answer that nobody reads: the server is killed as soon as it has been given.
    let lost = refresh(&server, &session["refresh_token"]).await;
    server.crash_and_restart(&stage);
    let again = refresh(&server, &session["refresh_token"]).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.body["refresh_token"], lost.body["refresh_token"]);
    let next = refresh(&server, &again.body["refresh_token"]).await;
    assert_eq!(next.status, StatusCode::OK);
}

async fn a_refresh_whose_server_died_before_the_answer_is_repeated(engine: Engine) {
    const USED: &str = "SELECT COUNT(*) FROM refresh_tokens WHERE used_at IS NOT NULL";
    let stage = Stage::new(engine).await;
    let mut server = Server::start_with(&stage, &[("KEYFERRY_PLAIN_HTTP", "true")]);
    let session = register(&server, "ada").await;
    let body = json!({ "refresh_token": session["refresh_token"] }).to_string();
    let mut silent = server.connect();
    write!(
        silent,
        "POST /auth/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    until("the token is used up", async || {
        (stage.count(USED).await == 1).then_some(())
    })
    .await;
    server.crash_and_restart(&stage);
    let again = refresh(&server, &session["refresh_token"]).await;
    assert_eq!(again.status, StatusCode::OK, "{}", again.body);
    let next = refresh(&server, &again.body["refresh_token"]).await;
    assert_eq!(next.status, StatusCode::OK, "{}", next.body);
}

async fn a_token_that_is_used_again_after_the_grace_ends_its_session(engine: Engine) {
    const ELEVEN_SECONDS_PASS: &str =
        "UPDATE refresh_tokens SET used_at = used_at - 11000000 WHERE used_at IS NOT NULL";
    let (stage, server) = stage(engine).await;
    let session = register(&server, "ada").await;
    let elsewhere = login(&server, "ada", PASSWORD).await.body;
    let thief = refresh(&server, &session["refresh_token"]).await.body;
    assert_eq!(stage.change(ELEVEN_SECONDS_PASS).await, 1);
    let victim = refresh(&server, &session["refresh_token"]).await;
    assert_eq!(victim.status, StatusCode::UNAUTHORIZED);
    // Neither branch lives on, not even by its access token; another session of the user does.
    let dead = refresh(&server, &thief["refresh_token"]).await;
    assert_eq!(dead.status, StatusCode::UNAUTHORIZED);
    for (tokens, lives) in [(&session, false), (&thief, false), (&elsewhere, true)] {
        let me = ask(
            &server,
            Method::GET,
            "/auth/me",
            &token(tokens, "access_token"),
        )
        .await;
        assert_eq!(me.status == StatusCode::OK, lives, "{}", me.body);
    }
    let reported = "SELECT COUNT(*) FROM audit_events \
        WHERE action = 'security.refresh_token_reused'";
    assert_eq!(stage.count(reported).await, 1);
}

async fn a_fourth_registration_within_an_hour_waits(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start_with(&stage, &[("AUTH_REGISTRATIONS_PER_HOUR", "3")]);
    for name in ["ada", "eve", "bob"] {
        register(&server, name).await;
    }
    let body = json!({ "username": "joe", "password": PASSWORD });
    let fourth = server
        .ask(Method::POST, "/auth/register", None, Some(body))
        .await;
    assert_eq!(fourth.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(fourth.body["code"], "rate_limited");
}

async fn a_person_ends_a_session_from_the_command_line(engine: Engine) {
    let (stage, server) = stage(engine).await;
    let person = Person::register(&stage, &server, "ada");
    let elsewhere = login(&server, "ada", PASSWORD).await.body;
    let list = person.ask(&["sessions", "list"]);
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    let other = items.iter().find(|one| one["current"] == false).unwrap();
    let id = other["id"].as_str().unwrap();
    person.run(&["sessions", "end", id], b"").success();
    let me = ask(
        &server,
        Method::GET,
        "/auth/me",
        &token(&elsewhere, "access_token"),
    )
    .await;
    assert_eq!(me.status, StatusCode::UNAUTHORIZED);
    assert_eq!(person.run(&["sessions", "end", id], b"").code, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_refreshes_of_one_token_over_two_servers_leave_one_branch() {
    let stage = Stage::new(Engine::Postgres).await;
    let servers = [Server::start(&stage), Server::start(&stage)];
    let session = register(&servers[0], "ada").await;
    let token_before = &session["refresh_token"];
    let both = servers.iter().cycle().take(50);
    let answers = futures_util::future::join_all(both.map(|server| refresh(server, token_before)));
    let answers = answers.await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    let successors: BTreeSet<_> = answers
        .iter()
        .map(|answer| answer.body["refresh_token"].to_string())
        .collect();
    assert_eq!(successors.len(), 1, "all got the same successor");

    let live = "SELECT COUNT(*) FROM refresh_tokens WHERE used_at IS NULL";
    assert_eq!(stage.count(live).await, 1);
    let access = token(&answers[0].body, "access_token");
    for server in &servers {
        let me = ask(server, Method::GET, "/auth/me", &access).await;
        assert_eq!(me.status, StatusCode::OK);
    }
    let next = refresh(&servers[1], &answers[0].body["refresh_token"]).await;
    assert_eq!(next.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_on_one_server_counts_on_the_other_at_once() {
    let stage = Stage::new(Engine::Postgres).await;
    let servers = [Server::start(&stage), Server::start(&stage)];
    let session = register(&servers[0], "ada").await;
    let access = token(&session, "access_token");
    // Both have checked the token before, so that both remember its signature.
    for server in &servers {
        let me = ask(server, Method::GET, "/auth/me", &access).await;
        assert_eq!(me.status, StatusCode::OK);
    }
    ask(&servers[0], Method::POST, "/auth/logout", &access).await;
    for server in &servers {
        let me = ask(server, Method::GET, "/auth/me", &access).await;
        assert_eq!(me.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_signing_key_ends_no_session_on_any_server() {
    let stage = Stage::new(Engine::Postgres).await;
    let first = Server::start(&stage);
    let old = register(&first, "ada").await;
    let rotated = std::process::Command::new(binary("keyferry-server"))
        .args(["rotate", "jwt", "--json", "--data-dir"])
        .arg(stage.data_dir())
        .env("DATABASE_URL", stage.database().unwrap().url())
        .env("AUTH_PASSWORD_HASH_ROUNDS", "10")
        .output()
        .unwrap();
    assert!(rotated.status.success(), "{rotated:?}");
    let told: Value = serde_json::from_slice(&rotated.stdout).unwrap();
    let second = Server::start(&stage);
    let new = login(&second, "ada", PASSWORD).await.body;
    for session in [&old, &new] {
        let access = token(session, "access_token");
        for server in [&first, &second] {
            let me = ask(server, Method::GET, "/auth/me", &access).await;
            assert_eq!(me.status, StatusCode::OK);
        }
    }
    let published = first
        .ask(Method::GET, "/.well-known/jwks.json", None, None)
        .await;
    let keys = published.body["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 2);
    assert!(keys.iter().any(|key| key["kid"] == told["kid"]));
}

async fn stage(engine: Engine) -> (Stage, Server) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    (stage, server)
}

async fn register(server: &Server, username: &str) -> Value {
    let body = json!({ "username": username, "password": PASSWORD });
    let answer = server
        .ask(Method::POST, "/auth/register", None, Some(body))
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.body
}

async fn login(server: &Server, username: &str, password: &str) -> Answer {
    let body = json!({ "username": username, "password": password });
    server
        .ask(Method::POST, "/auth/login", None, Some(body))
        .await
}

async fn refresh(server: &Server, token: &Value) -> Answer {
    let body = json!({ "refresh_token": token });
    server
        .ask(Method::POST, "/auth/refresh", None, Some(body))
        .await
}

async fn ask(server: &Server, method: Method, path: &str, token: &SecretString) -> Answer {
    server.ask(method, path, Some(token), None).await
}

fn token(session: &Value, member: &str) -> SecretString {
    session[member].as_str().unwrap().into()
}
