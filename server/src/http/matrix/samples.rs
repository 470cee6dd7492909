//! Requests that the routes take. A route that this file knows no target or body for fails the test.

use serde_json::{Value, json};

use super::world::{Caller, World};
use crate::http::guide::Guide;
use crate::http::table::{Route, parameter, segments};
use crate::sessions::Permission;
use crate::store::{DeviceId, IdentityId, NewDevice, NewIdentity};

impl World {
    /// A new thing of the tenant for this parameter of this path.
    /// What belongs to a user alone is the victim's.
    pub(super) async fn target(&self, route: &Route, parameter: &str, victim: &Caller) -> String {
        let area = segments(route.path).next().unwrap_or_default();
        let target = match area {
            "auth" => self.target_of_user(parameter, victim).await,
            _ => self.target_of_tenant((area, parameter)).await,
        };
        target
            .unwrap_or_else(|| panic!("say here what {{{parameter}}} of {} stands for", route.path))
    }

    async fn target_of_user(&self, parameter: &str, victim: &Caller) -> Option<String> {
        Some(match parameter {
            "session" => {
                let own = self
                    .make_own(victim, "GET /auth/sessions", Value::Null)
                    .await;
                text(&own["items"][0]["id"])
            }
            "id" => {
                let key = json!({ "name": self.new_name() });
                let made = self.make_own(victim, "POST /auth/api-keys", key).await;
                text(&made["id"])
            }
            "device" => self.device(victim).await,
            "identity" => self.identity(victim).await,
            "provider" => "none".to_owned(),
            _ => return None,
        })
    }

    async fn target_of_tenant(&self, place: (&str, &str)) -> Option<String> {
        let name = self.new_name();
        Some(match place {
            ("keys", "name") => {
                let key = json!({ "provider": "custom", "value": "a value" });
                self.make(&format!("PUT /keys/{name}"), key).await;
                name
            }
            ("vms", "id") => {
                let vm = self.make("POST /vms", json!({ "name": name })).await;
                text(&vm["id"])
            }
            ("roles", "name") => {
                let role = json!({ "permissions": ["code:generate"] });
                self.make(&format!("PUT /roles/{name}"), role).await;
                name
            }
            ("members", "user") => self.member("viewer").await.to_string(),
            ("tenants", "tenant") => self.tenant.to_string(),
            ("invitations", "invitation") => {
                let invitation = json!({ "email": format!("{name}@x.org"), "role": "viewer" });
                let made = self.make("POST /invitations", invitation).await;
                text(&made["id"])
            }
            ("enrolments", "code") => {
                let agent = json!({ "agent_key": AGENT_KEY, "tenant": self.tenant });
                let made = self.make("POST /enrolments", agent).await;
                text(&made["user_code"])
            }
            ("admin", "account") => self.user().await.0.to_string(),
            ("admin", "plan") => "developer".to_owned(),
            ("admin", "tenant") => self.user().await.1.to_string(),
            _ => return None,
        })
    }

    /// A request that this route takes, on new things of the tenant.
    pub(super) async fn request(&self, route: &Route, victim: &Caller) -> (String, Value) {
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
    pub(super) async fn device(&self, victim: &Caller) -> String {
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

    /// The victim, as a provider knows them.
    pub(super) async fn identity(&self, victim: &Caller) -> String {
        let app = self.app();
        let now = app.clock.now();
        let subject = self.new_name();
        let identity = NewIdentity {
            id: IdentityId::new(now, &mut app.rng()),
            user_id: victim.user,
            provider: "corp",
            issuer: "https://id.example.org",
            subject: &subject,
            created_at: now,
        };
        let mut change = app.store.begin().await.unwrap();
        change.insert_identity(&identity).await.unwrap();
        change.commit().await.unwrap();
        identity.id.to_string()
    }

    /// The example of the route's guide, under names that are new.
    async fn body(&self, route: &Route) -> Value {
        let Some(mut body) = Guide::to(route.name).and_then(Guide::example) else {
            return Value::Null;
        };
        let name = self.new_name();
        for (member, value) in body.as_object_mut().unwrap() {
            match member.as_str() {
                "name" | "username" => *value = json!(name),
                "email" => *value = json!(format!("{name}@example.org")),
                _ => {}
            }
        }
        body
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Where a sample request is understood and refused for a reason of its own.
pub(super) fn refused_by_nature(route: &Route) -> Option<u16> {
    match route.name {
        "cookies_sign_in" | "cookies_refresh" | "cookies_verify_mfa" => Some(401),
        "accounts_change_password"
        | "accounts_close_me"
        | "accounts_start_totp"
        | "accounts_reset_password"
        | "accounts_verify_email"
        | "delivery_enrolments_poll"
        | "cookies_redeem" => Some(400),
        // There is no provider.
        "providers_start" | "providers_callback" => Some(404),
        "accounts_remove_totp" | "accounts_renew_recovery_codes" => Some(401),
        "tenants_join" | "accounts_confirm_totp" => Some(404),
        // Nobody has opened them.
        "metrics_show" => Some(404),
        // The callers own a tenant that costs nothing.
        "tenants_add_tenant" => Some(409),
        _ => None,
    }
}

/// What a sample request hands out or takes away, which its caller must have as well.
pub(super) fn handed_out(route: &Route) -> &'static [Permission] {
    use Permission::{UserRead, VaultRead, VaultWrite, VmEnroll, VmRead, VmWrite};
    match route.name {
        "tenants_change_member" => &[UserRead, VaultRead, VaultWrite, VmEnroll, VmRead, VmWrite],
        "tenants_remove_member" | "tenants_invite" => &[VaultRead, VmRead],
        "accounts_add_api_key" => &[VaultRead],
        // The machine is a new one.
        "delivery_enrolments_approve" => &[VmWrite],
        _ => &[],
    }
}

/// 32 bytes.
const AGENT_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
