use super::*;

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
