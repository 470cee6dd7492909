//! Passwords are changed, and proven where it matters.

use super::*;

#[tokio::test]
async fn a_changed_password_keeps_only_the_session_that_changed_it() {
    let server = server().await;
    let first = register_ada(&server).await;
    let second = try_password(&server, OLD).await.unwrap();
    let bearer = first["session_token"].as_str();
    let caller = signed_in(&server.app, &ORIGIN, bearer).await.unwrap();
    let wrong = json!({ "current_password": NEW, "new_password": NEW });
    let refused = change_password(&server.app, &ORIGIN, &caller, request(wrong)).await;
    assert_eq!(code(refused), Some("invalid_input"));
    let right = json!({ "current_password": OLD, "new_password": NEW });
    change_password(&server.app, &ORIGIN, &caller, request(right))
        .await
        .unwrap();
    assert!(signed_in(&server.app, &ORIGIN, bearer).await.is_ok());
    let other = second["session_token"].as_str();
    assert!(signed_in(&server.app, &ORIGIN, other).await.is_err());
    try_password(&server, NEW).await.unwrap();
}

#[tokio::test]
async fn a_login_that_is_under_way_ends_with_the_password_that_began_it() {
    let server = server().await;
    let ada = caller(&server).await;
    let find = async || {
        server
            .app
            .store
            .user_by_id(ada.user_id())
            .await
            .unwrap()
            .unwrap()
    };
    let (proven, late) = (find().await, find().await);
    let change = json!({ "current_password": OLD, "new_password": NEW });
    change_password(&server.app, &ORIGIN, &ada, request(change))
        .await
        .unwrap();
    let entered = admit(&server.app, &ORIGIN, proven, Brought::default()).await;
    assert_eq!(code(entered), Some("invalid_credentials"));

    // With a second factor to come it would have been a challenge.
    let step = "INSERT INTO totp (user_id, salt, secret, master_key_id, created_at, confirmed_at, \
        last_step, failures) SELECT id, x'00', x'00', x'00', 0, 1, 0, 0 FROM users";
    sql!(server.app.store, query(step).execute).unwrap();
    let owed = admit(&server.app, &ORIGIN, late, Brought::default()).await;
    assert_eq!(code(owed), Some("invalid_credentials"));
    let owed = admit(&server.app, &ORIGIN, find().await, Brought::default()).await;
    assert_eq!(code(owed), None);
}

#[tokio::test]
async fn a_session_that_has_ended_meanwhile_changes_nothing() {
    let server = server().await;
    let ada = caller(&server).await;
    sign_out_everywhere(&server.app, &ada).await.unwrap();
    let app = &server.app;
    let key = add_api_key(app, &ada, request(json!({ "name": "a" }))).await;
    assert_eq!(code(key), Some("unauthenticated"));
    let new = json!({ "email": "eve@example.org", "current_password": OLD });
    assert_eq!(
        code(change(&server, &ada, new).await),
        Some("unauthenticated")
    );
    let entered = crate::tenants::enter(app, &ORIGIN, &ada, ada.tenant_id()).await;
    assert_eq!(code(entered), Some("unauthenticated"));
}

#[tokio::test]
async fn the_last_passwords_are_not_used_again() {
    let mut config = Config::for_tests();
    config.passwords.history = 3;
    let server = server_with(config).await;
    let session = register_ada(&server).await;
    let bearer = session["session_token"].as_str();
    let caller = signed_in(&server.app, &ORIGIN, bearer).await.unwrap();
    let change = async |from: &str, to: &str| {
        server.clock.advance(Duration::from_secs(1));
        let body = json!({ "current_password": from, "new_password": to });
        code(change_password(&server.app, &ORIGIN, &caller, request(body)).await)
    };
    let third = "Silver-Orchard-9-Kettle";
    assert_eq!(change(OLD, OLD).await, Some("weak_password"));
    assert_eq!(change(OLD, NEW).await, None);
    assert_eq!(change(NEW, OLD).await, Some("weak_password"));
    assert_eq!(change(NEW, third).await, None);
    assert_eq!(change(third, OLD).await, Some("weak_password"));
    assert_eq!(change(third, "Marble-Thistle-3-Beacon").await, None);
    assert_eq!(change("Marble-Thistle-3-Beacon", OLD).await, None);
}

#[tokio::test]
async fn who_found_a_session_does_not_guess_the_password_for_long() {
    const NOTED: &str =
        "SELECT COUNT(*) FROM audit_events WHERE action = 'security.password_refused'";
    let server = server().await;
    let ada = caller(&server).await;
    let origin = Origin {
        peer: Some("192.0.2.1".parse().unwrap()),
        ..ORIGIN
    };
    let change = async |current: &str| {
        let body = json!({ "current_password": current, "new_password": NEW });
        code(change_password(&server.app, &origin, &ada, request(body)).await)
    };
    let close = async |current: &str| {
        let body = json!({ "current_password": current });
        code(close_me(&server.app, &origin, &ada, request(body)).await)
    };
    for _ in 0..2 {
        assert_eq!(change("Wrong-Guess-1").await, Some("invalid_input"));
        assert_eq!(close("Wrong-Guess-1").await, Some("invalid_input"));
        let set_up = request(json!({ "current_password": "Wrong-Guess-1" }));
        let refused = start_totp(&server.app, &origin, &ada, set_up).await;
        assert!(refused.is_err());
    }
    for password in ["Wrong-Guess-1", OLD] {
        assert_eq!(change(password).await, Some("rate_limited"));
        assert_eq!(close(password).await, Some("rate_limited"));
    }
    let noted: i64 = sql!(server.app.store, query_scalar(NOTED).fetch_one).unwrap();
    assert_eq!(noted, 5, "the others were not looked at");
}
