//! Accounts and sessions, as a REST client meets them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::{Method, StatusCode};
use keyferry_cli::rest::Answer;
use keyferry_tests::{Engine, PASSWORD, Server, Stage, on_both_engines, until};
use secrecy::SecretString;
use serde_json::{Value, json};

on_both_engines!(
    an_account_is_made_and_signs_in,
    a_name_is_taken_without_regard_to_case,
    a_weak_password_is_refused_with_the_reason,
    a_wrong_password_and_an_unknown_user_get_the_same_answer,
    a_refresh_token_is_replaced_by_its_successor,
    after_a_logout_no_token_of_the_session_works,
    accounts_and_sessions_outlive_a_killed_server,
    the_server_tells_that_it_is_well,
    the_signing_key_is_published,
    nobody_is_served_without_a_good_token,
);

async fn an_account_is_made_and_signs_in(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let made = register(&server, "Ada", PASSWORD).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(
        (&made.body["username"], &made.body["is_active"]),
        (&json!("Ada"), &json!(true))
    );
    let signed_in = login(&server, "ada", PASSWORD).await;
    assert_eq!(signed_in.status, StatusCode::OK);
    assert_eq!(signed_in.body["token_type"], "Bearer");
    for token in ["access_token", "session_token"] {
        let me = me(&server, &token_of(&signed_in.body, token)).await;
        assert_eq!(
            (me.status, &me.body["id"]),
            (StatusCode::OK, &made.body["id"]),
            "{token}"
        );
        assert_eq!(me.body["roles"], json!(["owner"]));
    }
}

async fn a_name_is_taken_without_regard_to_case(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    register(&server, "ada", PASSWORD).await;
    let again = register(&server, "ADA", PASSWORD).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(again.body["code"], "already_registered");
    assert_eq!(again.body["errors"][0]["field"], "username");
}

async fn a_weak_password_is_refused_with_the_reason(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    for weak in [
        "123",
        "password",
        "abc123",
        "Ada-Ada-1",
        &"Aa1-".repeat(19),
        "Secure\0Pass123",
    ] {
        let refused = register(&server, "ada", weak).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{weak:?}");
        assert_eq!(refused.body["errors"][0]["field"], "password", "{weak:?}");
    }
    for good in ["SecurePass123", "SecurePass123!", "SecurePassword123!"] {
        let name = format!("user-{}", good.len());
        assert_eq!(
            register(&server, &name, good).await.status,
            StatusCode::CREATED,
            "{good}"
        );
    }
}

async fn a_wrong_password_and_an_unknown_user_get_the_same_answer(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    register(&server, "ada", PASSWORD).await;
    let wrong = login(&server, "ada", "Violet-Harbour-7-Lanterm").await;
    let unknown = login(&server, "eve", PASSWORD).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!((wrong.status, &wrong.body), (unknown.status, &unknown.body));
    assert_eq!(wrong.body["code"], "invalid_credentials");
}

async fn a_refresh_token_is_replaced_by_its_successor(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let first = register(&server, "ada", PASSWORD).await.body;
    let second = refresh(&server, &first["refresh_token"]).await;
    assert_eq!(second.status, StatusCode::OK);
    assert_ne!(second.body["refresh_token"], first["refresh_token"]);
    // Two tabs at once: within the grace window the same successor comes again.
    let again = refresh(&server, &first["refresh_token"]).await;
    assert_eq!(again.body["refresh_token"], second.body["refresh_token"]);
    let third = refresh(&server, &second.body["refresh_token"]).await;
    assert_eq!(third.status, StatusCode::OK);
    let token = token_of(&third.body, "access_token");
    assert_eq!(me(&server, &token).await.status, StatusCode::OK);
    let forged = refresh(
        &server,
        &json!("kfr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    )
    .await;
    assert_eq!(forged.body["code"], "invalid_refresh_token");
}

async fn after_a_logout_no_token_of_the_session_works(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let session = register(&server, "ada", PASSWORD).await.body;
    let other = login(&server, "ada", PASSWORD).await.body;
    let access = token_of(&session, "access_token");
    let out = server
        .ask(Method::POST, "/auth/logout", Some(&access), None)
        .await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    for token in ["access_token", "session_token"] {
        let refused = me(&server, &token_of(&session, token)).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{token}");
    }
    let refreshed = refresh(&server, &session["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::UNAUTHORIZED);
    let still = me(&server, &token_of(&other, "access_token")).await;
    assert_eq!(
        still.status,
        StatusCode::OK,
        "another session of the same user was ended"
    );
}

async fn accounts_and_sessions_outlive_a_killed_server(engine: Engine) {
    let (stage, mut server) = stage(engine).await;
    let session = register(&server, "ada", PASSWORD).await.body;
    let ended = login(&server, "ada", PASSWORD).await.body;
    let access = token_of(&ended, "access_token");
    server
        .ask(Method::POST, "/auth/logout", Some(&access), None)
        .await;
    server.crash_and_restart(&stage);
    assert_eq!(
        me(&server, &token_of(&session, "access_token"))
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(me(&server, &access).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(login(&server, "ada", PASSWORD).await.status, StatusCode::OK);
}

async fn the_server_tells_that_it_is_well(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    for prefix in ["", "/api", "/api/v2"] {
        let path = format!("{prefix}/health");
        let health = until("the server is well", async || {
            let health = server.ask(Method::GET, &path, None, None).await;
            (health.status == StatusCode::OK).then_some(health)
        })
        .await;
        assert_eq!(
            (&health.body["status"], &health.body["database"]),
            (&json!("healthy"), &json!("connected"))
        );
    }
    let database = server
        .ask(Method::GET, "/database/status", None, None)
        .await;
    assert_eq!(database.body["database_connected"], true);
    let expected = if engine == Engine::Sqlite {
        "sqlite"
    } else {
        "postgresql"
    };
    assert_eq!(database.body["engine"], expected);
    let twice = server.ask(Method::GET, "/api/api/health", None, None).await;
    assert_eq!(twice.status, StatusCode::NOT_FOUND);
}

async fn the_signing_key_is_published(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let jwks = server
        .ask(Method::GET, "/.well-known/jwks.json", None, None)
        .await;
    assert_eq!(jwks.body["keys"][0]["alg"], "EdDSA");
    assert!(
        jwks.body["keys"][0].get("d").is_none(),
        "the private half is published"
    );
}

async fn nobody_is_served_without_a_good_token(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let session = register(&server, "ada", PASSWORD).await.body;
    let good = session["access_token"].as_str().unwrap();
    let (head, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let unsigned = format!("{head}.");
    let bad = [
        "",
        "x",
        &forged,
        &unsigned,
        session["refresh_token"].as_str().unwrap(),
    ];
    for path in ["/auth/me", "/keys", "/vms"] {
        let anonymous = server.ask(Method::GET, path, None, None).await;
        assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED, "{path}");
        for token in bad {
            let refused = server
                .ask(Method::GET, path, Some(&token.into()), None)
                .await;
            assert_eq!(
                refused.status,
                StatusCode::UNAUTHORIZED,
                "{path} with {token}"
            );
            assert_eq!(refused.body["code"], "unauthenticated");
        }
    }
}

async fn stage(engine: Engine) -> (Stage, Server) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    (stage, server)
}

async fn register(server: &Server, username: &str, password: &str) -> Answer {
    let body = json!({ "username": username, "password": password });
    server
        .ask(Method::POST, "/auth/register", None, Some(body))
        .await
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

async fn me(server: &Server, token: &SecretString) -> Answer {
    server.ask(Method::GET, "/auth/me", Some(token), None).await
}

fn token_of(session: &Value, member: &str) -> SecretString {
    session[member].as_str().unwrap().into()
}
