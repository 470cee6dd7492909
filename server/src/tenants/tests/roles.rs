use super::*;

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
