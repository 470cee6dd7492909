//! How people and their programs prove who they are.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::{Method, StatusCode};
use keyferry_cli::rest::Answer;
use keyferry_tests::{Engine, PASSWORD, Server, Stage, code_now, on_both_engines, until};
use secrecy::SecretString;
use serde_json::{Value, json};

on_both_engines!(
    a_program_uses_an_api_key_until_it_is_revoked,
    a_login_with_a_second_factor_takes_two_steps,
    of_many_logins_with_one_code_one_succeeds,
    wrong_codes_after_a_right_password_lock_the_account,
    a_tenant_demands_a_second_factor_of_its_members,
);

async fn a_program_uses_an_api_key_until_it_is_revoked(engine: Engine) {
    let (_stage, server, session) = stage(engine).await;
    let body = json!({ "name": "backup", "permissions": ["vault:read"], "expires_in_days": 7 });
    let added = ask(
        &server,
        Method::POST,
        "/auth/api-keys",
        &session,
        Some(body),
    )
    .await;
    assert_eq!(added.status, StatusCode::CREATED);
    let key: SecretString = added.body["key"].as_str().unwrap().into();
    let listed = ask(&server, Method::GET, "/keys", &key, None).await;
    assert_eq!(listed.status, StatusCode::OK);
    let vm = json!({ "name": "kali" });
    let refused = ask(&server, Method::POST, "/vms", &key, Some(vm)).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let change = json!({ "current_password": PASSWORD, "new_password": "Copper-Meadow-4-Whistle" });
    let refused = ask(
        &server,
        Method::POST,
        "/auth/password/change",
        &key,
        Some(change),
    )
    .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let path = format!("/auth/api-keys/{}", added.body["id"].as_str().unwrap());
    let revoked = ask(&server, Method::DELETE, &path, &session, None).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let late = ask(&server, Method::GET, "/keys", &key, None).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
}

async fn a_login_with_a_second_factor_takes_two_steps(engine: Engine) {
    let (_stage, server, session) = stage(engine).await;
    let codes = set_up(&server, &session).await;
    let owed = login(&server).await;
    assert_eq!(owed.body["mfa_required"], true);
    assert!(owed.body.get("access_token").is_none());
    let wrong = second(&server, &owed.body, "aaaa-aaaa-aaaa-aaaa").await;
    assert_eq!(
        (wrong.status, &wrong.body["code"]),
        (StatusCode::UNAUTHORIZED, &json!("invalid_code"))
    );
    let entered = second(&server, &owed.body, codes[0].as_str().unwrap()).await;
    assert_eq!(entered.status, StatusCode::OK);
    let token = entered.body["access_token"].as_str().unwrap().into();
    let mfa = ask(&server, Method::GET, "/auth/mfa", &token, None).await;
    assert_eq!(mfa.body, json!({ "totp": true, "recovery_codes_left": 9 }));
}

async fn of_many_logins_with_one_code_one_succeeds(engine: Engine) {
    let (_stage, server, session) = stage(engine).await;
    let codes = set_up(&server, &session).await;
    let owed = [
        login(&server).await.body,
        login(&server).await.body,
        login(&server).await.body,
    ];
    let code = codes[3].as_str().unwrap();
    let [one, two, three] = &owed;
    let (one, two, three) = tokio::join!(
        second(&server, one, code),
        second(&server, two, code),
        second(&server, three, code)
    );
    let entered = [one, two, three]
        .into_iter()
        .filter(|answer| answer.status == StatusCode::OK);
    assert_eq!(entered.count(), 1);
}

async fn wrong_codes_after_a_right_password_lock_the_account(engine: Engine) {
    let (_stage, server, session) = stage(engine).await;
    set_up(&server, &session).await;
    let wrong =
        json!({ "username": "ada", "password": PASSWORD, "mfa_code": "aaaa-aaaa-aaaa-aaaa" });
    for turn in 0..5 {
        // Whoever has the password may begin again and again: that forgives nothing.
        let owed = login(&server).await;
        assert_eq!(owed.body["mfa_required"], true, "turn {turn}");
        let refused = if turn % 2 == 0 {
            second(&server, &owed.body, "aaaa-aaaa-aaaa-aaaa").await
        } else {
            server
                .ask(Method::POST, "/auth/login", None, Some(wrong.clone()))
                .await
        };
        assert_eq!(refused.body["code"], "invalid_code", "turn {turn}");
    }
    let locked = login(&server).await;
    assert_eq!(locked.status, StatusCode::TOO_MANY_REQUESTS);
}

async fn a_tenant_demands_a_second_factor_of_its_members(engine: Engine) {
    let (stage, server, owner) = stage(engine).await;
    let demand = json!({ "mfa_required": true });
    let path = "/tenants/current";
    let refused = ask(&server, Method::PATCH, path, &owner, Some(demand.clone())).await;
    assert_eq!(
        refused.body["code"], "second_factor_owed",
        "who demands it has it"
    );
    set_up(&server, &owner).await;
    let changed = ask(&server, Method::PATCH, path, &owner, Some(demand)).await;
    assert_eq!(changed.body["mfa_required"], true);
    let body = json!({ "username": "bob", "password": PASSWORD });
    let bob = server
        .ask(Method::POST, "/auth/register", None, Some(body.clone()))
        .await;
    let own: SecretString = bob.body["access_token"].as_str().unwrap().into();
    let tenant = join((&stage, &server), &owner, &own).await;
    let path = format!("/tenants/{tenant}/enter");
    let entered = ask(&server, Method::POST, &path, &own, None).await;
    assert_eq!(entered.body["second_factor_owed"], true);
    let there: SecretString = entered.body["access_token"].as_str().unwrap().into();
    let closed = ask(&server, Method::GET, "/keys", &there, None).await;
    assert_eq!(
        (closed.status.as_u16(), &closed.body["code"]),
        (403, &json!("second_factor_owed"))
    );
    let me = ask(&server, Method::GET, "/auth/me", &there, None).await;
    assert_eq!(me.body["permissions"], json!([]));
    let refresh = json!({ "refresh_token": entered.body["refresh_token"] });
    let renewed = server
        .ask(Method::POST, "/auth/refresh", None, Some(refresh))
        .await;
    assert_eq!(renewed.body["second_factor_owed"], true);

    set_up(&server, &there).await;
    let opened = ask(&server, Method::GET, "/keys", &there, None).await;
    assert_eq!(opened.status, StatusCode::OK);
}

/// Makes somebody a member of the owner's tenant; it is found in the mail of the outbox.
async fn join(
    (stage, server): (&Stage, &Server),
    owner: &SecretString,
    user: &SecretString,
) -> String {
    let invitation = json!({ "email": "bob@example.org", "role": "member" });
    ask(
        server,
        Method::POST,
        "/invitations",
        owner,
        Some(invitation),
    )
    .await;
    let token = until("the invitation is in the outbox", async || {
        stage.mailed("kfi_")
    })
    .await;
    let token = json!({ "token": token });
    let joined = ask(
        server,
        Method::POST,
        "/invitations/accept",
        user,
        Some(token),
    )
    .await;
    assert_eq!(joined.status, StatusCode::OK, "{}", joined.body);
    joined.body["id"].as_str().unwrap().to_owned()
}

/// Confirms an authenticator app, and gives the recovery codes.
async fn set_up(server: &Server, session: &SecretString) -> Vec<Value> {
    let path = "/auth/mfa/totp/start";
    let proof = Some(json!({ "current_password": PASSWORD }));
    let start = ask(server, Method::POST, path, session, proof).await;
    assert_eq!(start.status, StatusCode::CREATED);
    let secret = start.body["secret"].as_str().unwrap();
    let body = json!({ "code": code_now(secret) });
    let confirm = "/auth/mfa/totp/confirm";
    let confirmed = ask(server, Method::POST, confirm, session, Some(body)).await;
    assert_eq!(confirmed.status, StatusCode::OK);
    confirmed.body["recovery_codes"].as_array().unwrap().clone()
}

async fn stage(engine: Engine) -> (Stage, Server, SecretString) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let body = json!({ "username": "ada", "password": PASSWORD });
    let path = "/auth/register";
    let made = server.ask(Method::POST, path, None, Some(body)).await;
    let session = made.body["access_token"].as_str().unwrap().into();
    (stage, server, session)
}

async fn login(server: &Server) -> Answer {
    let body = json!({ "username": "ada", "password": PASSWORD });
    server
        .ask(Method::POST, "/auth/login", None, Some(body))
        .await
}

async fn second(server: &Server, owed: &Value, code: &str) -> Answer {
    let body = json!({ "mfa_token": owed["mfa_token"], "code": code });
    let path = "/auth/mfa/verify";
    server.ask(Method::POST, path, None, Some(body)).await
}

async fn ask(
    server: &Server,
    method: Method,
    path: &str,
    token: &SecretString,
    body: Option<Value>,
) -> Answer {
    server.ask(method, path, Some(token), body).await
}
