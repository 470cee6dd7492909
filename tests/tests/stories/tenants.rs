//! Tenants, as REST clients and the operator meet them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_cli::rest::Answer;
use keyferry_tests::{Engine, PASSWORD, Server, Stage, on_both_engines};
use secrecy::SecretString;
use serde_json::{Value, json};

on_both_engines!(
    a_role_of_the_tenants_own_is_made_used_and_deleted,
    a_second_free_tenant_is_refused_and_a_paid_one_makes_room,
    a_role_is_either_deleted_or_handed_out,
    the_free_plan_ends_at_three_vms,
    another_tenant_sees_nothing,
);

async fn a_role_of_the_tenants_own_is_made_used_and_deleted(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let ada = register(&server, "ada").await;
    let permissions = json!({ "permissions": ["code:generate", "vault:read"] });
    let made = ask(
        &server,
        &ada,
        Method::PUT,
        "/roles/coder",
        Some(permissions),
    )
    .await;
    assert_eq!(
        (made.status.as_u16(), &made.body["name"]),
        (200, &json!("coder"))
    );
    let invitation = json!({ "email": "bob@example.org", "role": "coder" });
    let invited = ask(
        &server,
        &ada,
        Method::POST,
        "/invitations",
        Some(invitation),
    )
    .await;
    assert_eq!(invited.status, 201, "{}", invited.body);
    let used = ask(&server, &ada, Method::DELETE, "/roles/coder", None).await;
    assert_eq!(used.body["code"], "role_in_use");
    let id = invited.body["id"].as_str().unwrap();
    let path = format!("/invitations/{id}");
    assert_eq!(
        ask(&server, &ada, Method::DELETE, &path, None).await.status,
        204
    );
    let gone = ask(&server, &ada, Method::DELETE, "/roles/coder", None).await;
    assert_eq!(gone.status, 204);
}

async fn a_second_free_tenant_is_refused_and_a_paid_one_makes_room(engine: Engine) {
    let (stage, server) = stage(engine).await;
    let ada = register(&server, "ada").await;
    let second = json!({ "name": "Second" });
    let refused = ask(
        &server,
        &ada,
        Method::POST,
        "/tenants",
        Some(second.clone()),
    )
    .await;
    assert_eq!(
        refused.body["code"], "plan_limit",
        "one free tenant is enough"
    );
    stage.change("UPDATE tenants SET plan = 'pro'").await;
    let second = ask(&server, &ada, Method::POST, "/tenants", Some(second)).await;
    let path = format!("/tenants/{}/enter", second.body["id"].as_str().unwrap());
    let entered = ask(&server, &ada, Method::POST, &path, None).await;
    let there = token(&entered.body);
    let me = ask(&server, &there, Method::GET, "/auth/me", None).await;
    assert_eq!(me.body["tenant"]["name"], "Second");
    assert_eq!(me.body["plan"]["requests_per_minute"], 100);
    let left = ask(
        &server,
        &there,
        Method::POST,
        "/tenants/current/leave",
        None,
    )
    .await;
    assert_eq!(left.body["code"], "last_owner");
}

async fn a_role_is_either_deleted_or_handed_out(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let ada = register(&server, "ada").await;
    for round in 0..8 {
        let path = format!("/roles/coder{round}");
        let permissions = json!({ "permissions": ["code:generate"] });
        ask(&server, &ada, Method::PUT, &path, Some(permissions)).await;
        let email = format!("bob{round}@example.org");
        let invitation = json!({ "email": email, "role": format!("coder{round}") });
        let (invited, deleted) = tokio::join!(
            ask(
                &server,
                &ada,
                Method::POST,
                "/invitations",
                Some(invitation)
            ),
            ask(&server, &ada, Method::DELETE, &path, None),
        );
        let outcome = (invited.status.as_u16(), deleted.status.as_u16());
        assert!([(201, 409), (400, 204)].contains(&outcome), "{outcome:?}");
    }
}

async fn the_free_plan_ends_at_three_vms(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let ada = register(&server, "ada").await;
    for (name, status) in [("a", 201), ("b", 201), ("c", 201), ("d", 409)] {
        let added = ask(
            &server,
            &ada,
            Method::POST,
            "/vms",
            Some(json!({ "name": name })),
        )
        .await;
        assert_eq!(added.status, status, "{}", added.body);
    }
    let plans = ask(&server, &ada, Method::GET, "/plans", None).await;
    let names: Vec<&Value> = plans.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plan| &plan["name"])
        .collect();
    assert_eq!(names, ["free", "developer", "pro", "enterprise"]);
}

async fn another_tenant_sees_nothing(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let (ada, eve) = (
        register(&server, "ada").await,
        register(&server, "eve").await,
    );
    let vm = ask(
        &server,
        &ada,
        Method::POST,
        "/vms",
        Some(json!({ "name": "a" })),
    )
    .await;
    let me = ask(&server, &ada, Method::GET, "/auth/me", None).await;
    for path in [
        format!("/vms/{}", vm.body["id"].as_str().unwrap()),
        format!("/members/{}", me.body["id"].as_str().unwrap()),
    ] {
        let refused = ask(&server, &eve, Method::DELETE, &path, None).await;
        assert_eq!(refused.status, 404, "{path}");
    }
    for path in ["/vms", "/keys", "/invitations"] {
        let list = ask(&server, &eve, Method::GET, path, None).await;
        assert_eq!(list.body["items"], json!([]), "{path}");
    }
    let members = ask(&server, &eve, Method::GET, "/members", None).await;
    assert_eq!(members.body["items"].as_array().unwrap().len(), 1);
}

async fn stage(engine: Engine) -> (Stage, Server) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    (stage, server)
}

async fn register(server: &Server, name: &str) -> SecretString {
    let account = json!({ "username": name, "password": PASSWORD });
    let made = server
        .ask(Method::POST, "/auth/register", None, Some(account))
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    token(&made.body)
}

async fn ask(
    server: &Server,
    bearer: &SecretString,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Answer {
    server.ask(method, path, Some(bearer), body).await
}

fn token(body: &Value) -> SecretString {
    body["access_token"].as_str().unwrap().into()
}
