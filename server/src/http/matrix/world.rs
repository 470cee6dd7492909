//! The tenant in which everything is tried, its people, and somebody to talk to its server.

use std::cell::Cell;

use serde_json::Value;
use sqlx::Row;

use crate::app::App;
use crate::config::Config;
use crate::http::tests::Line;
use crate::store::{NewUser, Target, TenantId, UserId};
use crate::testing;

/// A tenant with an owner who keeps it, and somebody to talk to its server.
pub(super) struct World {
    line: Line,
    pub(super) tenant: TenantId,
    /// Counts what was made, so that every name is new.
    made: Cell<u32>,
}

/// Somebody signed in.
pub(super) struct Caller {
    pub(super) user: UserId,
    /// Of their session.
    session: String,
    /// What they call with: the same, or an API key.
    pub(super) bearer: String,
}

impl World {
    pub(super) async fn new() -> Self {
        let mut config = Config::for_tests();
        let limits = &mut config.limits;
        (limits.failed_logins, limits.registrations, limits.mails) = (None, None, None);
        limits.enrolments = None;
        let line = Box::pin(Line::open_with(config)).await;
        let mut world = Self {
            line,
            tenant: TenantId::from_bytes([0; 16]),
            made: Cell::new(0),
        };
        (_, world.tenant) = Box::pin(world.user()).await;
        world.on_plan("enterprise").await;
        world
    }

    pub(super) fn app(&self) -> &App {
        &self.line.server.app
    }

    pub(super) fn new_name(&self) -> String {
        self.made.set(self.made.get() + 1);
        format!("thing-{}", self.made.get())
    }

    pub(super) async fn on_plan(&self, plan: &str) {
        let mut change = self.app().store.begin().await.unwrap();
        assert!(change.change_plan(self.tenant, plan).await.unwrap());
        change.commit().await.unwrap();
    }

    /// A user with a tenant of their own.
    pub(super) async fn user(&self) -> (UserId, TenantId) {
        let app = self.app();
        let now = app.clock.now();
        let name = self.new_name();
        let user = NewUser {
            id: UserId::new(now, &mut app.rng()),
            tenant_id: TenantId::new(now, &mut app.rng()),
            tenant_name: self.new_name(),
            username: Some(name.parse().unwrap()),
            email: Some(format!("{name}@example.org").parse().unwrap()),
            full_name: None,
            password_hash: "none".to_owned(),
            email_verified: false,
            pending: false,
            server_admin: false,
            created_at: now,
        };
        let mut change = app.store.begin().await.unwrap();
        change.insert_user(&user).await.unwrap();
        change.commit().await.unwrap();
        (user.id, user.tenant_id)
    }

    pub(super) async fn member(&self, role: &str) -> UserId {
        let (user, _) = self.user().await;
        let now = self.app().clock.now();
        let mut change = self.app().store.begin().await.unwrap();
        let place = (self.tenant, user);
        change.insert_membership(place, role, now).await.unwrap();
        change.commit().await.unwrap();
        user
    }

    pub(super) async fn sign_in(&self, user: UserId, tenant: TenantId) -> Caller {
        let tokens = testing::enter(self.app(), (user, tenant)).await;
        let session = tokens["access_token"].as_str().unwrap().to_owned();
        Caller {
            user,
            bearer: session.clone(),
            session,
        }
    }

    /// A new member of the tenant, signed in to it.
    pub(super) async fn insider(&self, role: &str) -> Caller {
        let user = self.member(role).await;
        self.sign_in(user, self.tenant).await
    }

    /// The owner of another tenant.
    pub(super) async fn outsider(&self) -> Caller {
        let (user, tenant) = self.user().await;
        self.sign_in(user, tenant).await
    }

    pub(super) async fn ask(
        &self,
        request: &(String, Value),
        bearer: Option<&str>,
    ) -> (u16, Value) {
        let (line, body) = request;
        let mut fields = String::new();
        if let Some(bearer) = bearer {
            fields.push_str(&format!("Authorization: Bearer {bearer}\r\n"));
        }
        let body = if body.is_null() {
            String::new()
        } else {
            fields.push_str("Content-Type: application/json\r\n");
            body.to_string()
        };
        self.line.ask(line, &fields, &body).await
    }

    /// Has somebody make something of their own, which must work.
    pub(super) async fn make_own(&self, caller: &Caller, line: &str, body: Value) -> Value {
        let request = (line.to_owned(), body);
        let (status, made) = self.ask(&request, Some(&caller.session)).await;
        assert!((200..300).contains(&status), "{line}: {made}");
        made
    }

    /// Has an owner do something that must work.
    pub(super) async fn make(&self, line: &str, body: Value) -> Value {
        let owner = self.insider("owner").await;
        self.make_own(&owner, line, body).await
    }

    /// Everything that the tenant has, but for who is signed in and what the audit says, and
    /// everything that belongs to this user, but for when something was used.
    pub(super) async fn rows(&self, user: UserId) -> Vec<String> {
        let of_tenant = self.rows_with("tenant_id", "tenants", self.tenant.bytes());
        let of_tenant = of_tenant.await;
        let of_user = self.rows_with("user_id", "users", user.bytes()).await;
        let left_out = [
            "sessions:",
            "refresh_tokens:",
            "audit_events:",
            "mfa_challenges:",
        ];
        let told = |row: &String| !left_out.iter().any(|table| row.starts_with(table));
        of_tenant.into_iter().filter(told).chain(of_user).collect()
    }

    /// The rows of every table that name `id` in this column, and the one that it is the id of.
    async fn rows_with(&self, column: &str, own: &str, id: [u8; 16]) -> Vec<String> {
        const TABLES: &str = "SELECT m.name, \
            group_concat('quote(' || c.name || ')', ' || '','' || ') \
            FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' \
            AND c.name NOT IN ('last_used_at', 'last_seen_at') \
            GROUP BY m.name HAVING SUM(c.name = $1) > 0 OR m.name = $2";
        let Target::Sqlite(pool) = self.app().store.target() else {
            panic!("these tests run on SQLite")
        };
        let tables = sqlx::query(TABLES).bind(column).bind(own).fetch_all(pool);
        let mut rows = Vec::new();
        for table in tables.await.unwrap() {
            let (name, columns): (String, String) = (table.get(0), table.get(1));
            let column = if name == own { "id" } else { column };
            let sql = format!("SELECT {columns} FROM {name} WHERE {column} = $1 ORDER BY 1");
            let found = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql))
                .bind(id.as_slice())
                .fetch_all(pool);
            let found = found.await.unwrap().into_iter();
            rows.extend(found.map(|row| format!("{name}: {row}")));
        }
        rows
    }
}

/// Fails when something has come, gone or changed since.
pub(super) fn assert_same(before: &[String], after: &[String], what: &str) {
    let news = after.iter().filter(|row| !before.contains(row));
    let gone = before.iter().filter(|row| !after.contains(row));
    let changed: Vec<&String> = gone.chain(news).collect();
    assert!(changed.is_empty(), "{what} changed {changed:#?}");
}
