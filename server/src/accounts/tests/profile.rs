//! What people see and change of their own account, and take with them.

use super::*;

#[tokio::test]
async fn a_new_address_is_unverified_and_the_old_one_is_told() {
    let server = server().await;
    let ada = caller(&server).await;
    let token = mailed_token(&server).await;
    verify(&server, &token).await.unwrap();
    forgot(&server, MAIL).await;
    let stale = mailed_token(&server).await;
    let new = "countess@example.org";
    for password in [None, Some(NEW)] {
        let body = json!({ "email": new, "current_password": password });
        let refused = change(&server, &ada, body).await.err().unwrap();
        assert_eq!(refused.fields()[0].field, "current_password");
    }
    let body = json!({ "email": new, "current_password": OLD });
    let me = change(&server, &ada, body).await.unwrap();
    assert_eq!(
        (&me["email"], &me["email_verified"]),
        (&json!(new), &json!(false))
    );
    let mails = server.app.mailer.taken().await;
    let to = |address: &str| {
        mails
            .iter()
            .any(|mail| mail.contains(&format!("\r\nTo: {address}\r\n")))
    };
    assert!(to(MAIL) && to(new) && mails.len() == 2);
    assert_eq!(
        code(reset(&server, &stale, NEW).await),
        Some("invalid_token")
    );
}

#[tokio::test]
async fn what_is_left_out_of_a_change_stays() {
    let server = server().await;
    let ada = caller(&server).await;
    let me = change(&server, &ada, json!({ "full_name": "Ada L." }))
        .await
        .unwrap();
    assert_eq!(
        (&me["username"], &me["full_name"]),
        (&json!("ada"), &json!("Ada L."))
    );
    let me = change(&server, &ada, json!({ "username": "countess" }))
        .await
        .unwrap();
    assert_eq!(
        (&me["username"], &me["full_name"]),
        (&json!("countess"), &json!("Ada L."))
    );
    let me = change(&server, &ada, json!({ "full_name": "" }))
        .await
        .unwrap();
    assert_eq!(
        (&me["email"], &me["full_name"]),
        (&json!(MAIL), &Value::Null)
    );
    server.user("eve").await;
    let taken = change(&server, &ada, json!({ "username": "EVE" })).await;
    assert_eq!(code(taken), Some("already_registered"));
}

#[tokio::test]
async fn an_export_tells_everything_but_secrets() {
    let server = server().await;
    let token = server.register("ada").await;
    let origin = Origin {
        peer: Some("192.0.2.1".parse().unwrap()),
        user_agent: Some("a browser".into()),
        ..ORIGIN
    };
    // Ids sort by time.
    server.clock.advance(Duration::from_secs(1));
    let claim = json!({ "username": "ada", "password": "SecurePass123!" });
    sign_in(&server.app, &origin, request(claim)).await.unwrap();
    let ada = signed_in(&server.app, &ORIGIN, Some(&token)).await.unwrap();
    let eve = server.user("eve").await;
    become_member(&server, (eve.tenant_id(), ada.user_id()), "viewer").await;
    let key = json!({ "name": "backup" });
    add_api_key(&server.app, &ada, request(key)).await.unwrap();
    const THERE: &str = "INSERT INTO service_api_keys \
        (id, tenant_id, user_id, name, hint, key_hash, created_at) \
        SELECT zeroblob(16), $1, user_id, 'there', hint, zeroblob(32), created_at \
        FROM service_api_keys";
    sql!(server.app.store, query(THERE, eve.tenant_id()).execute).unwrap();
    identity_of(&server, &ada).await;

    let export = export_me(&server.app, &ada).await.unwrap();
    let export = serde_json::to_value(export).unwrap();
    assert_eq!(export["account"]["username"], "ada");
    let all = |member: &str, of: &str| -> Vec<String> {
        let items = export[member].as_array().unwrap().iter();
        items
            .map(|item| item[of].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(all("sessions", "user_agent"), ["a browser", ""]);
    assert_eq!(all("devices", "network"), ["192.0.2.0/24"]);
    assert_eq!(all("identities", "provider"), ["corp"]);
    assert_eq!(all("tenants", "role"), ["owner", "viewer"]);
    assert_eq!(all("api_keys", "name"), ["there", "backup"]);
    let places = [eve.tenant_id().to_string(), ada.tenant_id().to_string()];
    assert_eq!(all("api_keys", "tenant"), places);
    assert!(all("events", "action").contains(&"auth.register".to_owned()));
    assert_eq!(export["second_factors"]["totp"], false);
    let text = export.to_string();
    for secret in ["$2b$", "kfs_", "kf_"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_account_is_exported_ten_times_an_hour() {
    let server = server().await;
    let ada = caller(&server).await;
    for _ in 0..10 {
        export_me(&server.app, &ada).await.unwrap();
    }
    let refused = export_me(&server.app, &ada).await;
    assert_eq!(code(refused), Some("rate_limited"));
}

async fn identity_of(server: &Server, user: &SignedIn) {
    let now = server.app.clock.now();
    let identity = NewIdentity {
        id: IdentityId::new(now, &mut server.app.rng()),
        user_id: user.user_id(),
        provider: "corp",
        issuer: "https://id.example.org",
        subject: "ada-1",
        created_at: now,
    };
    let mut change = server.app.store.begin().await.unwrap();
    change.insert_identity(&identity).await.unwrap();
    change.commit().await.unwrap();
}

#[tokio::test]
async fn of_two_new_names_the_one_that_is_taken_is_blamed() {
    let server = server().await;
    let ada = caller(&server).await;
    let eve = json!({ "username": "eve", "email": "eve@example.org", "password": NEW });
    register(&server.app, &ORIGIN, request(eve)).await.unwrap();
    for (username, email, taken) in [
        ("countess", "eve@example.org", "email"),
        ("eve", "countess@example.org", "username"),
    ] {
        let body = json!({ "username": username, "email": email, "current_password": OLD });
        let refused = change(&server, &ada, body).await.err().unwrap();
        assert_eq!(refused.fields()[0].field, taken);
    }
}

#[tokio::test]
async fn nobody_takes_a_name_that_looks_like_an_id() {
    let server = server().await;
    let ada = caller(&server).await;
    let id = server.user("eve").await.user_id().to_string();
    for name in [id.clone(), id.replace('-', ""), id.to_uppercase()] {
        let refused = change(&server, &ada, json!({ "username": name })).await;
        assert_eq!(refused.err().unwrap().fields()[0].field, "username");
        let account = json!({ "username": name, "password": NEW });
        let refused = register(&server.app, &ORIGIN, request(account)).await;
        assert_eq!(code(refused), Some("invalid_input"));
    }
}

#[tokio::test]
async fn an_address_signs_in_as_such_and_in_the_place_of_a_username() {
    let server = server().await;
    register_ada(&server).await;
    for name in ["username", "email"] {
        let claim = json!({ name: MAIL.to_uppercase(), "password": OLD });
        sign_in(&server.app, &ORIGIN, request(claim)).await.unwrap();
        let wrong = json!({ name: MAIL, "password": NEW });
        let refused = sign_in(&server.app, &ORIGIN, request(wrong)).await;
        assert_eq!(code(refused), Some("invalid_credentials"));
    }
}
