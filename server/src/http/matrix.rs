//! Every route by every role, on things of the own tenant and of another one. The cases come from
//! the table of routes: a route that this file knows no target or body for fails the test.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Row;

use super::routes::ROUTES;
use super::table::{Access, Route, parameter, segments};
use super::tests::Line;
use crate::app::App;
use crate::sessions::{self, BuiltIn, Member, Role};
use crate::store::{DeviceId, NewDevice, NewUser, Target, TenantId, UserId};
use crate::testing::ORIGIN;

/// A tenant with an owner who keeps it, and somebody to talk to its server.
struct World {
    line: Line,
    tenant: TenantId,
    /// Counts what was made, so that every name is new.
    made: std::cell::Cell<u32>,
}

/// Somebody signed in.
struct Caller {
    user: UserId,
    bearer: String,
}

impl World {
    async fn new() -> Self {
        let line = Line::open().await;
        let mut world = Self {
            line,
            tenant: TenantId::from_bytes([0; 16]),
            made: std::cell::Cell::new(0),
        };
        (_, world.tenant) = world.user().await;
        world.on_plan("enterprise").await;
        world
    }

    fn app(&self) -> &App {
        &self.line.server.app
    }

    /// So that nobody comes too often.
    fn time_passes(&self) {
        let span = Duration::from_secs(2 * 3600);
        self.line.server.clock.advance(span);
    }

    fn new_name(&self) -> String {
        self.made.set(self.made.get() + 1);
        format!("thing-{}", self.made.get())
    }

    async fn on_plan(&self, plan: &str) {
        let mut change = self.app().store.begin().await.unwrap();
        assert!(change.change_plan(self.tenant, plan).await.unwrap());
        change.commit().await.unwrap();
    }

    /// A user with a tenant of their own.
    async fn user(&self) -> (UserId, TenantId) {
        let app = self.app();
        let now = app.clock.now();
        let name = self.new_name();
        let user = NewUser {
            id: UserId::new(now, &mut app.rng()),
            tenant_id: TenantId::new(now, &mut app.rng()),
            tenant_name: self.new_name(),
            username: Some(name.parse().unwrap()),
            email: None,
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

    async fn member(&self, role: &str) -> UserId {
        let (user, _) = self.user().await;
        let now = self.app().clock.now();
        let mut change = self.app().store.begin().await.unwrap();
        let place = (self.tenant, user);
        change.insert_membership(place, role, now).await.unwrap();
        change.commit().await.unwrap();
        user
    }

    async fn sign_in(&self, user: UserId, tenant: TenantId) -> Caller {
        let tokens = sessions::start(self.app(), &ORIGIN, Member { user, tenant }).await;
        let tokens = serde_json::to_value(tokens.unwrap()).unwrap();
        let bearer = tokens["access_token"].as_str().unwrap().to_owned();
        Caller { user, bearer }
    }

    /// A new member of the tenant, signed in to it.
    async fn insider(&self, role: &str) -> Caller {
        let user = self.member(role).await;
        self.sign_in(user, self.tenant).await
    }

    /// The owner of another tenant.
    async fn outsider(&self) -> Caller {
        let (user, tenant) = self.user().await;
        self.sign_in(user, tenant).await
    }

    async fn ask(&self, request: &(String, Value), bearer: Option<&str>) -> (u16, Value) {
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

    /// Has the owner do something that must work.
    async fn make(&self, line: &str, body: Value) -> Value {
        let owner = self.insider("owner").await;
        let request = (line.to_owned(), body);
        let (status, made) = self.ask(&request, Some(&owner.bearer)).await;
        assert!((200..300).contains(&status), "{line}: {made}");
        made
    }

    /// A new thing of the tenant for this parameter of this path.
    /// What belongs to a user alone is the victim's.
    async fn target(&self, route: &Route, parameter: &str, victim: &Caller) -> String {
        let area = segments(route.path).next().unwrap_or_default();
        let name = self.new_name();
        match (area, parameter) {
            ("keys", "name") => {
                let key = json!({ "provider": "custom", "value": "a value" });
                self.make(&format!("PUT /keys/{name}"), key).await;
                name
            }
            ("vms", "id") => {
                let vm = self.make("POST /vms", json!({ "name": name })).await;
                vm["id"].as_str().unwrap().to_owned()
            }
            ("roles", "name") => {
                let role = json!({ "permissions": ["code:generate"] });
                self.make(&format!("PUT /roles/{name}"), role).await;
                name
            }
            ("auth", "session") => {
                let list = ("GET /auth/sessions".to_owned(), Value::Null);
                let (_, own) = self.ask(&list, Some(&victim.bearer)).await;
                own["items"][0]["id"].as_str().unwrap().to_owned()
            }
            ("auth", "id") => {
                let made = ("POST /auth/api-keys".to_owned(), json!({ "name": name }));
                let (_, made) = self.ask(&made, Some(&victim.bearer)).await;
                made["id"].as_str().unwrap().to_owned()
            }
            ("auth", "device") => self.device(victim).await,
            ("members", "user") => self.member("viewer").await.to_string(),
            ("tenants", "tenant") => self.tenant.to_string(),
            ("invitations", "invitation") => {
                let invitation = json!({ "email": format!("{name}@x.org"), "role": "viewer" });
                let made = self.make("POST /invitations", invitation).await;
                made["id"].as_str().unwrap().to_owned()
            }
            _ => panic!("say here what {{{parameter}}} of {} stands for", route.path),
        }
    }

    /// A request that this route takes, on new things of the tenant.
    async fn request(&self, route: &Route, victim: &Caller) -> (String, Value) {
        let mut path = String::new();
        for part in segments(route.path) {
            let part = match parameter(part) {
                Some(parameter) if route.method != hyper::Method::PUT => {
                    self.target(route, parameter, victim).await
                }
                Some(_) => self.new_name(),
                None => part.to_owned(),
            };
            path.push('/');
            path.push_str(&part);
        }
        let path = if path.is_empty() { "/" } else { &path };
        (format!("{} {path}", route.method), self.body(route).await)
    }

    /// A device from which the victim has signed in.
    async fn device(&self, victim: &Caller) -> String {
        let app = self.app();
        let now = app.clock.now();
        let id = DeviceId::new(now, &mut app.rng());
        let device = NewDevice {
            id,
            user_id: victim.user,
            mark: [0; 32],
            user_agent: "a browser",
            network: "127.0.0.1",
            seen_at: now,
        };
        let mut change = app.store.begin().await.unwrap();
        change.meet_device(&device).await.unwrap();
        change.commit().await.unwrap();
        id.to_string()
    }

    async fn body(&self, route: &Route) -> Value {
        let mut schemas = super::describe::Schemas::new();
        let mut operation = schemas.operation();
        (route.describe)(&mut operation);
        if operation.body.is_none() {
            return Value::Null;
        }
        let name = self.new_name();
        match route.name {
            "accounts_register" => json!({ "username": name, "password": "SecurePass123!" }),
            "cookies_sign_in" => json!({ "username": name, "password": "SecurePass123!" }),
            "cookies_refresh" => json!({ "refresh_token": "kfr_none" }),
            "cookies_verify_mfa" => json!({ "mfa_token": "kfm_none", "code": "000000" }),
            "accounts_confirm_totp" | "accounts_remove_totp" | "accounts_renew_recovery_codes" => {
                json!({ "code": "000000" })
            }
            "accounts_change_me" => json!({ "full_name": name }),
            "accounts_close_me" => json!({ "current_password": "WrongPass123!" }),
            "accounts_add_api_key" => json!({ "name": name }),
            "accounts_verify_email" => json!({ "token": "kfe_none" }),
            "accounts_resend_verification" | "accounts_forgot_password" => {
                json!({ "email": format!("{name}@example.org") })
            }
            "accounts_reset_password" => {
                json!({ "token": "kfe_none", "new_password": "SecurePass123!" })
            }
            "accounts_change_password" => json!({
                "current_password": "SecurePass123!", "new_password": "SecurePass124!"
            }),
            "tenants_add_tenant" | "tenants_change_tenant" => json!({ "name": name }),
            "tenants_change_member" => json!({ "role": "member" }),
            "tenants_invite" => json!({ "email": format!("{name}@x.org"), "role": "viewer" }),
            "tenants_join" => json!({ "token": "kfi_none" }),
            "tenants_put_role" => json!({ "permissions": ["code:generate"] }),
            "vault_put" => json!({ "provider": "custom", "value": "a value" }),
            "vault_rotate" => json!({ "value": "another value" }),
            "delivery_add_vm" => json!({ "name": name }),
            "delivery_change_vm" => json!({ "name": name }),
            other => panic!("say here what a body of {other} looks like"),
        }
    }

    /// Everything that the tenant has, but for who is signed in and what the audit says.
    async fn rows(&self) -> Vec<String> {
        let Target::Sqlite(pool) = self.app().store.target() else {
            panic!("these tests run on SQLite")
        };
        let tables = "SELECT m.name, group_concat('quote(' || c.name || ')', ' || '','' || ') \
            FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' \
            GROUP BY m.name HAVING SUM(c.name = 'tenant_id') > 0 OR m.name = 'tenants'";
        let mut rows = Vec::new();
        for table in sqlx::query(tables).fetch_all(pool).await.unwrap() {
            let (name, columns): (String, String) = (table.get(0), table.get(1));
            if [
                "sessions",
                "refresh_tokens",
                "audit_events",
                "mfa_challenges",
            ]
            .contains(&name.as_str())
            {
                continue;
            }
            let tenant = if name == "tenants" { "id" } else { "tenant_id" };
            let sql = format!("SELECT {columns} FROM {name} WHERE {tenant} = $1 ORDER BY 1");
            let found = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql))
                .bind(self.tenant)
                .fetch_all(pool);
            let found = found.await.unwrap().into_iter();
            rows.extend(found.map(|row| format!("{name}: {row}")));
        }
        rows
    }
}

/// Where a sample request is understood and refused for a reason of its own.
fn refused_by_nature(route: &Route, role: BuiltIn) -> Option<u16> {
    match (route.name, role) {
        ("cookies_sign_in" | "cookies_refresh" | "cookies_verify_mfa", _) => Some(401),
        (
            "accounts_change_password"
            | "accounts_close_me"
            | "accounts_reset_password"
            | "accounts_verify_email",
            _,
        ) => Some(400),
        ("accounts_remove_totp" | "accounts_renew_recovery_codes", _) => Some(401),
        ("tenants_join" | "accounts_confirm_totp", _) => Some(404),
        _ => None,
    }
}

fn permitted(route: &Route, role: &Role) -> bool {
    match route.access {
        Access::Anyone | Access::SignedIn => true,
        Access::May(permission) => role.permissions().permit(permission),
    }
}

fn guarded() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.access != Access::Anyone)
}

#[tokio::test]
async fn nobody_passes_without_a_token() {
    let world = World::new().await;
    for route in guarded() {
        world.time_passes();
        let victim = world.insider("owner").await;
        let request = world.request(route, &victim).await;
        let before = world.rows().await;
        for bearer in [None, Some("kfs_AAAA"), Some("a.b.c")] {
            let (status, answer) = world.ask(&request, bearer).await;
            assert_eq!(status, 401, "{}: {answer}", request.0);
        }
        assert_eq!(
            world.rows().await,
            before,
            "{} changed something",
            request.0
        );
    }
}

#[tokio::test]
async fn every_role_does_what_the_table_says_and_nothing_else() {
    let world = World::new().await;
    for route in ROUTES.iter().filter(|route| route.status != 101) {
        for role in BuiltIn::ALL {
            world.time_passes();
            let caller = world.insider(role.name()).await;
            let request = world.request(route, &caller).await;
            let before = world.rows().await;
            let (status, answer) = world.ask(&request, Some(&caller.bearer)).await;
            let wanted = if permitted(route, &role.into()) {
                refused_by_nature(route, role).unwrap_or(route.status.as_u16())
            } else {
                403
            };
            assert_eq!(status, wanted, "{} as {}: {answer}", request.0, role.name());
            if wanted >= 400 {
                let after = world.rows().await;
                assert_eq!(after, before, "{} as {}", request.0, role.name());
            }
        }
    }
}

#[tokio::test]
async fn another_tenant_sees_and_changes_nothing() {
    let world = World::new().await;
    for route in guarded() {
        world.time_passes();
        let (outsider, victim) = (world.outsider().await, world.insider("owner").await);
        let request = world.request(route, &victim).await;
        let before = world.rows().await;
        let (status, answer) = world.ask(&request, Some(&outsider.bearer)).await;
        let names_a_thing = segments(route.path).any(|part| parameter(part).is_some());
        if names_a_thing && route.method != hyper::Method::PUT {
            assert_eq!(status, 404, "{}: {answer}", request.0);
        }
        let told = answer.to_string();
        assert!(
            !told.contains(&world.tenant.to_string()),
            "{}: {told}",
            request.0
        );
        assert!(
            !told.contains("thing-1\""),
            "{} tells the name of the tenant: {told}",
            request.0
        );
        assert_eq!(
            world.rows().await,
            before,
            "{} changed something",
            request.0
        );
    }
}

#[tokio::test]
async fn lists_hold_only_what_the_own_tenant_has() {
    let world = World::new().await;
    for area in [
        ("keys", "name"),
        ("vms", "id"),
        ("roles", "name"),
        ("members", "user"),
        ("invitations", "invitation"),
    ] {
        let route = ROUTES
            .iter()
            .find(|route| route.path.starts_with(&format!("/{}/{{", area.0)))
            .unwrap();
        let insider = world.insider("owner").await;
        let target = world.target(route, area.1, &insider).await;
        let list = (format!("GET /{}", area.0), Value::Null);
        let (_, own) = world.ask(&list, Some(&insider.bearer)).await;
        assert!(own.to_string().contains(&target), "{}", list.0);
        let outsider = world.outsider().await;
        let (status, foreign) = world.ask(&list, Some(&outsider.bearer)).await;
        assert_eq!(status, 200);
        assert!(!foreign.to_string().contains(&target), "{}", list.0);
    }
}
