use std::time::Duration;

use super::*;

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
    server.clock.advance(Duration::from_secs(8 * 24 * 3600));
    assert!(
        matches!(accept(&token).await, Err(ApiError::NotFound)),
        "it is over"
    );
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
    server.clock.advance(Duration::from_secs(7 * 24 * 3_600));
    sessions::sweep_once(&server.app).await.unwrap();
    let left: i64 = sql!(server.app.store, query_scalar(LEFT).fetch_one).unwrap();
    assert_eq!(left, 0);
    delete_role(&server.app, &owner, coder()).await.unwrap();
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
