use super::*;
use crate::sessions::{end, forget_device, list_devices};

#[tokio::test]
async fn a_device_is_a_program_in_a_place_and_can_be_forgotten() {
    let server = testing::server().await;
    register(&server, "ada").await.unwrap();
    let desk = login_at(&server, &at("192.0.2.1", "desk")).await;
    login_at(&server, &at("192.0.2.99", "desk")).await;
    server.clock.advance(Duration::from_secs(1));
    let phone = login_at(&server, &at("198.51.100.1", "phone")).await;
    let page = Page::parse(None).unwrap();
    let known = items(list_devices(&server.app, &desk, &page).await).await;
    assert_eq!(known.len(), 2);
    assert_eq!(known[0]["network"], "198.51.100.0/24");
    const NOTICES: &str = "SELECT COUNT(*) FROM audit_events WHERE action = 'security.new_device'";
    let notices: i64 = sql!(server.app.store, query_scalar(NOTICES).fetch_one).unwrap();
    assert_eq!(notices, 1, "the phone is new, the first device is not");
    assert!(
        server.app.mailer.taken().await.is_empty(),
        "there is no address to mail to"
    );

    let id = known[0]["id"].as_str().unwrap().parse().unwrap();
    let stranger = server.user("eve").await;
    let foreign = forget_device(&server.app, &stranger, id).await;
    assert!(matches!(foreign, Err(ApiError::NotFound)));
    forget_device(&server.app, &desk, id).await.unwrap();
    let ended = end(&server.app, &desk, phone.session_id().unwrap()).await;
    assert!(
        matches!(ended, Err(ApiError::NotFound)),
        "its session ended with it"
    );
    assert_eq!(
        items(list_devices(&server.app, &desk, &page).await)
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn the_owner_of_a_proven_address_hears_of_a_new_device() {
    const VERIFY: &str = "UPDATE users SET email_verified = $1, email = 'ada@example.org'";
    let server = testing::server().await;
    register(&server, "ada").await.unwrap();
    sql!(server.app.store, query(VERIFY, true).execute).unwrap();
    login_at(&server, &at("192.0.2.1", "desk")).await;
    login_at(&server, &at("192.0.2.2", "desk")).await;
    assert!(server.app.mailer.taken().await.is_empty());
    login_at(&server, &at("198.51.100.1", "phone")).await;
    let mails = server.app.mailer.taken().await;
    assert_eq!(mails.len(), 1);
    assert!(mails[0].contains("ada@example.org") && mails[0].contains("198.51.100.0/24"));
    assert!(mails[0].contains("phone"));
}
