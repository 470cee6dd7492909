use super::*;

#[tokio::test]
async fn a_refresh_token_gives_its_successor_again_within_the_grace() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    let second = renew(&server, &first["refresh_token"]).await.unwrap();
    server.clock.advance(Duration::from_secs(10));
    let again = renew(&server, &first["refresh_token"]).await.unwrap();
    assert_eq!(second["refresh_token"], again["refresh_token"]);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    caller(&server, &again["access_token"]).await.unwrap();
    renew(&server, &second["refresh_token"]).await.unwrap();
}

#[tokio::test]
async fn two_tabs_at_once_stay_signed_in() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    let token = &first["refresh_token"];
    let (one, other) = tokio::join!(renew(&server, token), renew(&server, token));
    assert_eq!(
        one.unwrap()["refresh_token"],
        other.unwrap()["refresh_token"]
    );
}

#[tokio::test]
async fn a_replayed_refresh_token_ends_the_whole_session() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    let second = renew(&server, &first["refresh_token"]).await.unwrap();
    server.clock.advance(Duration::from_secs(11));
    let replayed = renew(&server, &first["refresh_token"]).await;
    assert!(matches!(replayed, Err(ApiError::InvalidRefreshToken)));
    assert!(renew(&server, &second["refresh_token"]).await.is_err());
    for token in [&first["session_token"], &second["access_token"]] {
        assert!(caller(&server, token).await.is_err());
    }
}

#[tokio::test]
async fn a_grace_that_began_in_the_future_is_not_endless() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    let second = renew(&server, &first["refresh_token"]).await.unwrap();
    // As after a failover to a database whose clock is behind.
    const LATER: &str = "UPDATE refresh_tokens SET used_at = used_at + $1 WHERE used_at > 0";
    let later = async |seconds: i64| {
        sql!(server.app.store, query(LATER, seconds * 1_000_000).execute).unwrap();
    };
    later(30).await;
    let again = renew(&server, &first["refresh_token"]).await.unwrap();
    assert_eq!(second["refresh_token"], again["refresh_token"]);
    later(1).await;
    let replayed = renew(&server, &first["refresh_token"]).await;
    assert!(matches!(replayed, Err(ApiError::InvalidRefreshToken)));
}

#[tokio::test]
async fn a_session_ends_when_nobody_refreshes_it() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    server.clock.advance(Duration::from_secs(7 * 86_400 + 1));
    assert!(caller(&server, &first["session_token"]).await.is_err());
    assert!(renew(&server, &first["refresh_token"]).await.is_err());
}
