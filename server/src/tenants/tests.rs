mod invitations;
mod members;
mod roles;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::error::ApiError;
use crate::page::Page;
use crate::sessions::{self, Permission, SignedIn, signed_in};
use crate::store::{InvitationId, TenantId, UserId, sql};
use crate::testing::{self, ORIGIN, Server};

fn body<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn shown(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

async fn signed_in_to(server: &Server, user: UserId, tenant: TenantId) -> SignedIn {
    let tokens = testing::enter(&server.app, (user, tenant)).await;
    let bearer = tokens["access_token"].as_str();
    signed_in(&server.app, &ORIGIN, bearer).await.unwrap()
}

/// Adds a user to the owner's tenant, through an invitation, and signs them in to it.
async fn invited(server: &Server, owner: &SignedIn, (name, role): (&str, &str)) -> SignedIn {
    let user = server.user(name).await;
    let new = json!({ "email": format!("{name}@example.org"), "role": role });
    invite(&server.app, owner, body(new)).await.unwrap();
    let token = last_token(server).await;
    let joined = join(&server.app, &user, body(json!({ "token": token }))).await;
    joined.unwrap();
    signed_in_to(server, user.user_id(), owner.tenant_id()).await
}

/// The token in the newest mail.
async fn last_token(server: &Server) -> String {
    let mails = server.app.mailer.taken().await;
    let mail = mails.last().unwrap();
    let start = mail.rfind("kfi_").unwrap();
    mail[start..].split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_plan_bounds_the_vms() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let add = async |name: &str| {
        let new = body(json!({ "name": name }));
        crate::delivery::add_vm(&server.app, &owner, new)
            .await
            .map(drop)
    };
    for name in ["a", "b", "c"] {
        add(name).await.unwrap();
    }
    assert!(matches!(add("d").await, Err(ApiError::PlanLimit)));
    put_on(&server, &owner, "pro").await;
    add("d").await.unwrap();
}

async fn put_on(server: &Server, owner: &SignedIn, plan: &str) {
    let mut change = server.app.store.begin().await.unwrap();
    assert!(change.change_plan(owner.tenant_id(), plan).await.unwrap());
    change.commit().await.unwrap();
}

#[tokio::test]
async fn nobody_owns_two_free_tenants() {
    let server = testing::server().await;
    let ada = server.user("ada").await;
    let add = async || {
        let new = body(json!({ "name": "Another" }));
        add_tenant(&server.app, &ada, new).await.map(drop)
    };
    assert!(matches!(add().await, Err(ApiError::PlanLimit)));
    put_on(&server, &ada, "developer").await;
    let (one, other) = tokio::join!(add(), add());
    assert_eq!(u8::from(one.is_ok()) + u8::from(other.is_ok()), 1);
    assert!(matches!(add().await, Err(ApiError::PlanLimit)));
}

#[tokio::test]
async fn a_tenant_that_demands_a_second_factor_gives_members_without_one_nothing() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let bob = invited(&server, &owner, ("bob", "admin")).await;
    let demand = || body(json!({ "mfa_required": true }));
    let refused = change_tenant(&server.app, &owner, demand()).await;
    assert!(
        matches!(refused, Err(ApiError::SecondFactorOwed)),
        "the owner has none either"
    );
    let mut change = server.app.store.begin().await.unwrap();
    change
        .change_tenant(owner.tenant_id(), (None, Some(true)))
        .await
        .unwrap();
    change.commit().await.unwrap();
    let bob = signed_in_to(&server, bob.user_id(), owner.tenant_id()).await;
    assert!(matches!(
        bob.owes_no_factor(),
        Err(ApiError::SecondFactorOwed)
    ));
    assert_eq!(bob.permissions().names().len(), 0);
    leave(&server.app, &bob).await.unwrap();
}

#[tokio::test]
async fn a_user_works_in_several_tenants_by_turns() {
    let server = testing::server().await;
    let ada = server.user("ada").await;
    put_on(&server, &ada, "pro").await;
    let second = add_tenant(&server.app, &ada, body(json!({ "name": "Second" }))).await;
    let id: TenantId = shown(second.unwrap())["id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let tokens = enter(&server.app, &ORIGIN, &ada, id).await.unwrap();
    let tokens = shown(tokens);
    let there = signed_in(&server.app, &ORIGIN, tokens["access_token"].as_str())
        .await
        .unwrap();
    assert_eq!(there.tenant_id(), id);
    assert_eq!(
        shown(show_tenant(&server.app, &there).await.unwrap())["name"],
        "Second"
    );
    let eve = server.user("eve").await;
    let refused = enter(&server.app, &ORIGIN, &eve, id).await;
    assert!(matches!(refused, Err(ApiError::NotFound)));
}
