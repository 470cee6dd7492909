//! Accounts are closed, and nothing is left without an owner.

use super::*;

#[tokio::test]
async fn a_closed_account_leaves_nothing_and_its_name_is_free() {
    let server = server().await;
    let ada = caller(&server).await;
    let wrong = request(json!({ "current_password": NEW }));
    let refused = close_me(&server.app, &ORIGIN, &ada, wrong).await;
    assert_eq!(code(refused), Some("invalid_input"));
    let right = request(json!({ "current_password": OLD }));
    close_me(&server.app, &ORIGIN, &ada, right).await.unwrap();
    assert_eq!(
        code(try_password(&server, OLD).await),
        Some("invalid_credentials")
    );
    for table in [
        "users",
        "tenants",
        "memberships",
        "sessions",
        "email_tokens",
    ] {
        let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        let rows: i64 = sql!(server.app.store, query_scalar(sql).fetch_one).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    register_ada(&server).await;
}

#[tokio::test]
async fn a_session_that_ended_meanwhile_closes_no_account() {
    let server = server().await;
    let ada = caller(&server).await;
    sign_out_everywhere(&server.app, &ada).await.unwrap();
    let right = request(json!({ "current_password": OLD }));
    let refused = close_me(&server.app, &ORIGIN, &ada, right).await;
    assert_eq!(code(refused), Some("unauthenticated"));
    assert_eq!(code(try_password(&server, OLD).await), None);
}

#[tokio::test]
async fn the_only_owner_of_others_does_not_leave_them() {
    const JOIN: &str = "INSERT INTO memberships (tenant_id, user_id, role, created_at) \
        VALUES ($1, $2, 'member', 9223372036854775807)";
    let server = server().await;
    let (ada, eve) = (caller(&server).await, server.user("eve").await);
    sql!(
        server.app.store,
        query(JOIN, ada.tenant_id(), eve.user_id()).execute
    )
    .unwrap();
    let closing = || request(json!({ "current_password": OLD }));
    let refused = close_me(&server.app, &ORIGIN, &ada, closing()).await;
    assert_eq!(code(refused), Some("last_owner"));
    let closing_eve = request(json!({ "current_password": "SecurePass123!" }));
    close_me(&server.app, &ORIGIN, &eve, closing_eve)
        .await
        .unwrap();
    close_me(&server.app, &ORIGIN, &ada, closing())
        .await
        .unwrap();
}

/// Closes both accounts at once, and tells what the one who may not is told.
async fn close_both(server: &Server, both: [&SignedIn; 2]) -> Option<&'static str> {
    let close = async |who: &SignedIn| {
        let closing = request(json!({ "current_password": "SecurePass123!" }));
        code(close_me(&server.app, &ORIGIN, who, closing).await)
    };
    // The database keeps both waiting until their passwords were checked.
    let both_are_checked = async {
        let held = server.app.store.begin().await.unwrap();
        for _ in 0..4 {
            server.app.hasher.check("another", None).await.unwrap();
        }
        drop(held);
    };
    let (one, other, ()) = tokio::join!(
        Box::pin(close(both[0])),
        Box::pin(close(both[1])),
        both_are_checked
    );
    assert!(one.is_none() || other.is_none(), "one may");
    one.or(other)
}

#[tokio::test]
async fn of_two_owners_who_close_their_accounts_at_once_one_stays() {
    let server = server().await;
    let [ada, eve, bob] = [
        server.user("ada").await,
        server.user("eve").await,
        server.user("bob").await,
    ];
    become_member(&server, (ada.tenant_id(), eve.user_id()), "owner").await;
    become_member(&server, (ada.tenant_id(), bob.user_id()), "member").await;
    assert_eq!(close_both(&server, [&ada, &eve]).await, Some("last_owner"));
}

#[tokio::test]
async fn of_two_admins_who_close_their_accounts_at_once_one_stays() {
    const SQL: &str = "UPDATE users SET server_admin = $1";
    let server = server().await;
    let (ada, eve) = (server.user("ada").await, server.user("eve").await);
    sql!(server.app.store, query(SQL, true).execute).unwrap();
    assert_eq!(close_both(&server, [&ada, &eve]).await, Some("last_admin"));
}
