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
async fn an_invitation_by_mail_makes_a_member() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let bob = invited(&server, &owner, ("bob", "member")).await;
    assert_eq!(bob.tenant_id(), owner.tenant_id());
    assert!(bob.require(Permission::VaultWrite).is_ok());
    assert!(bob.require(Permission::UserAdmin).is_err());
    let listed = shown(
        members(&server.app, &owner, &Page::parse(None).unwrap())
            .await
            .unwrap(),
    );
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let tenants = shown(
        list(&server.app, &bob, &Page::parse(None).unwrap())
            .await
            .unwrap(),
    );
    assert_eq!(
        tenants["items"].as_array().unwrap().len(),
        2,
        "an own one and this one"
    );
}

#[tokio::test]
async fn an_invitation_counts_once_and_not_for_ever() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let new = json!({ "email": "bob@example.org", "role": "viewer" });
    invite(&server.app, &owner, body(new.clone()))
        .await
        .unwrap();
    let first = last_token(&server).await;
    invite(&server.app, &owner, body(new)).await.unwrap();
    let second = last_token(&server).await;
    let bob = server.user("bob").await;
    let accept = async |token: &str| {
        join(&server.app, &bob, body(json!({ "token": token })))
            .await
            .map(drop)
    };
    assert!(
        matches!(accept(&first).await, Err(ApiError::NotFound)),
        "it was replaced"
    );
    accept(&second).await.unwrap();
    assert!(
        matches!(accept(&second).await, Err(ApiError::NotFound)),
        "it was used"
    );

    let late = json!({ "email": "eve@example.org", "role": "viewer" });
    invite(&server.app, &owner, body(late)).await.unwrap();
    let token = last_token(&server).await;
    server
        .clock
        .advance(std::time::Duration::from_secs(8 * 24 * 3600));
    assert!(
        matches!(accept(&token).await, Err(ApiError::NotFound)),
        "it is over"
    );
}

#[tokio::test]
async fn nobody_hands_out_more_than_they_have() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let admin = invited(&server, &owner, ("adam", "admin")).await;
    let app = &server.app;
    let role = |role: &str| body::<change_member::MemberChange>(json!({ "role": role }));
    for (user, wanted) in [(admin.user_id(), "owner"), (owner.user_id(), "viewer")] {
        let refused = change_member(app, &admin, user, role(wanted)).await;
        assert!(matches!(refused, Err(ApiError::Forbidden)), "{wanted}");
    }
    assert!(remove_member(app, &admin, owner.user_id()).await.is_err());
    let new = json!({ "email": "x@example.org", "role": "owner" });
    assert!(matches!(
        invite(app, &admin, body(new)).await,
        Err(ApiError::Forbidden)
    ));

    let clerk = json!({ "permissions": ["user:admin", "user:read"] });
    put_role(app, &owner, "clerk".parse().unwrap(), body(clerk))
        .await
        .unwrap();
    let clerk = invited(&server, &owner, ("clara", "clerk")).await;
    let refused = change_member(app, &clerk, clerk.user_id(), role("member")).await;
    assert!(matches!(refused, Err(ApiError::Forbidden)));
}

#[tokio::test]
async fn a_tenant_keeps_an_owner() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let app = &server.app;
    let less = body(json!({ "role": "admin" }));
    let refused = change_member(app, &owner, owner.user_id(), less).await;
    assert!(matches!(refused, Err(ApiError::LastOwner)));
    assert!(matches!(leave(app, &owner).await, Err(ApiError::LastOwner)));
    assert!(owner.require(Permission::TenantAdmin).is_ok());
    invited(&server, &owner, ("second", "owner")).await;
    leave(app, &owner).await.unwrap();
}

#[tokio::test]
async fn who_was_sent_away_is_out_at_once() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let user = server.user("bob").await.user_id();
    let bob = invited_again(&server, &owner, user).await;
    assert!(signed_in(&server.app, &ORIGIN, Some(&bob)).await.is_ok());
    remove_member(&server.app, &owner, user).await.unwrap();
    let refused = signed_in(&server.app, &ORIGIN, Some(&bob)).await;
    assert!(matches!(refused, Err(ApiError::Unauthenticated)));

    let anew = invited_again(&server, &owner, user).await;
    assert!(signed_in(&server.app, &ORIGIN, Some(&anew)).await.is_ok());
    let refused = signed_in(&server.app, &ORIGIN, Some(&bob)).await;
    assert!(refused.is_err(), "what had ended came back");
}

/// The access token of a user who was made a member by hand.
async fn invited_again(server: &Server, owner: &SignedIn, user: UserId) -> String {
    let (tenant, now) = (owner.tenant_id(), server.app.clock.now());
    let mut change = server.app.store.begin().await.unwrap();
    let place = (tenant, user);
    change
        .insert_membership(place, "member", now)
        .await
        .unwrap();
    change.commit().await.unwrap();
    testing::enter(&server.app, (user, tenant)).await["access_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn a_role_of_the_tenants_own_permits_what_it_lists_from_the_next_request_on() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let app = &server.app;
    let coder = json!({ "permissions": ["code:generate", "vault:read"] });
    put_role(app, &owner, "coder".parse().unwrap(), body(coder))
        .await
        .unwrap();
    let eve = invited(&server, &owner, ("eve", "coder")).await;
    assert!(eve.require(Permission::VaultRead).is_ok());
    assert!(eve.require(Permission::VaultWrite).is_err());
    let in_use = delete_role(app, &owner, "coder".parse().unwrap()).await;
    assert!(matches!(in_use, Err(ApiError::RoleInUse)));

    let less = json!({ "permissions": ["code:generate"] });
    put_role(app, &owner, "coder".parse().unwrap(), body(less))
        .await
        .unwrap();
    let eve = signed_in_to(&server, eve.user_id(), eve.tenant_id()).await;
    assert!(eve.require(Permission::VaultRead).is_err());
    let me = shown(crate::accounts::me(app, &eve).await.unwrap());
    assert_eq!(me["permissions"], json!(["code:generate"]));
    assert_eq!(me["roles"], json!(["coder"]));
    assert_eq!(me["plan"]["requests_per_minute"], 100);

    remove_member(app, &owner, eve.user_id()).await.unwrap();
    delete_role(app, &owner, "coder".parse().unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn misshapen_roles_are_refused() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let put = async |name: &str, permissions: Value| {
        let name = name.parse()?;
        let new = body(json!({ "permissions": permissions }));
        put_role(&server.app, &owner, name, new).await.map(drop)
    };
    for name in ["", "a", "Coder", "1a", "a b", &"a".repeat(41)] {
        assert!(put(name, json!([])).await.is_err(), "{name:?}");
    }
    assert!(matches!(
        put("admin", json!([])).await,
        Err(ApiError::AlreadyExists)
    ));
    let many: Vec<String> = (0..33).map(|number| format!("code:n{number}")).collect();
    for permissions in [
        json!(["code"]),
        json!(["vault:raed"]),
        json!(["Code:x"]),
        json!(many),
    ] {
        assert!(
            put("coder", permissions.clone()).await.is_err(),
            "{permissions}"
        );
    }
    put("coder", json!(["code:generate", "vault:read"]))
        .await
        .unwrap();
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
async fn an_invitation_that_nobody_took_is_swept() {
    const LEFT: &str = "SELECT COUNT(*) FROM invitations";
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let role = json!({ "permissions": ["code:generate"] });
    let coder = || "coder".parse().unwrap();
    put_role(&server.app, &owner, coder(), body(role))
        .await
        .unwrap();
    let new = json!({ "email": "bob@example.org", "role": "coder" });
    invite(&server.app, &owner, body(new)).await.unwrap();
    let refused = delete_role(&server.app, &owner, coder()).await;
    assert!(matches!(refused, Err(ApiError::RoleInUse)));
    server
        .clock
        .advance(std::time::Duration::from_secs(7 * 24 * 3_600));
    sessions::sweep_once(&server.app).await.unwrap();
    let left: i64 = sql!(server.app.store, query_scalar(LEFT).fetch_one).unwrap();
    assert_eq!(left, 0);
    delete_role(&server.app, &owner, coder()).await.unwrap();
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

#[tokio::test]
async fn who_becomes_an_owner_meanwhile_is_out_of_an_admins_reach() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let admin = invited(&server, &owner, ("adam", "admin")).await;
    let bob = invited(&server, &owner, ("bob", "member")).await.user_id();
    let change = async |caller: &SignedIn, role: &str| {
        let wanted = body(json!({ "role": role }));
        change_member(&server.app, caller, bob, wanted)
            .await
            .map(drop)
    };
    let (up, down) = tokio::join!(change(&owner, "owner"), change(&admin, "viewer"));
    up.unwrap();
    assert!(matches!(down, Err(ApiError::Forbidden)));
    let stored = server.app.store.membership(owner.tenant_id(), bob).await;
    assert_eq!(stored.unwrap().unwrap().role, "owner");
}

#[tokio::test]
async fn who_lost_their_role_since_they_were_let_in_changes_nothing() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let adam = invited(&server, &owner, ("adam", "admin")).await;
    let role = |role: &str| body(json!({ "role": role }));
    change_member(&server.app, &owner, adam.user_id(), role("viewer"))
        .await
        .unwrap();
    nothing_is_changed(&server, (&adam, owner.user_id()), "forbidden").await;
    remove_member(&server.app, &owner, adam.user_id())
        .await
        .unwrap();
    nothing_is_changed(&server, (&adam, owner.user_id()), "unauthenticated").await;
}

/// Tries everything that an admin may do in the tenant, as the caller once could.
async fn nothing_is_changed(server: &Server, (adam, owner): (&SignedIn, UserId), told: &str) {
    let app = &server.app;
    let name = || "coder".parse().unwrap();
    let email = json!({ "email": "back-door@example.org", "role": "viewer" });
    let permits = json!({ "permissions": ["code:generate"] });
    let admin = || body(json!({ "role": "admin" }));
    let refused = [
        change_member(app, adam, adam.user_id(), admin())
            .await
            .map(drop),
        remove_member(app, adam, owner).await,
        invite(app, adam, body(email)).await.map(drop),
        withdraw(
            app,
            adam,
            InvitationId::new(app.clock.now(), &mut app.rng()),
        )
        .await,
        put_role(app, adam, name(), body(permits)).await.map(drop),
        delete_role(app, adam, name()).await,
        change_tenant(app, adam, body(json!({ "name": "Mine" })))
            .await
            .map(drop),
    ];
    for (place, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().code(), told, "{place}");
    }
}

#[tokio::test]
async fn invitations_go_with_who_sent_them() {
    let server = testing::server().await;
    let owner = server.user("owner").await;
    let admin = invited(&server, &owner, ("adam", "admin")).await;
    let new = json!({ "email": "back-door@example.org", "role": "admin" });
    invite(&server.app, &admin, body(new)).await.unwrap();
    let token = last_token(&server).await;
    remove_member(&server.app, &owner, admin.user_id())
        .await
        .unwrap();
    let back = server.user("back").await;
    let joined = join(&server.app, &back, body(json!({ "token": token }))).await;
    assert!(matches!(joined, Err(ApiError::NotFound)));
}
