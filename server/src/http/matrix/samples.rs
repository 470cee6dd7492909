//! Requests that the routes take. A route that this file knows no target or body for fails the test.

use serde_json::{Value, json};

use super::world::{Caller, World};
use crate::http::describe::Schemas;
use crate::http::table::{Route, parameter, segments};
use crate::sessions::Permission;
use crate::store::{DeviceId, NewDevice};

impl World {
    /// A new thing of the tenant for this parameter of this path.
    /// What belongs to a user alone is the victim's.
    pub(super) async fn target(&self, route: &Route, parameter: &str, victim: &Caller) -> String {
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
                let own = self
                    .make_own(victim, "GET /auth/sessions", Value::Null)
                    .await;
                own["items"][0]["id"].as_str().unwrap().to_owned()
            }
            ("auth", "id") => {
                let key = json!({ "name": name });
                let made = self.make_own(victim, "POST /auth/api-keys", key).await;
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
            ("admin", "account") => self.user().await.0.to_string(),
            ("admin", "tenant") => self.user().await.1.to_string(),
            _ => panic!("say here what {{{parameter}}} of {} stands for", route.path),
        }
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
        let mut schemas = Schemas::new();
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
            "operators_change_tenant" => json!({ "plan": "pro" }),
            other => panic!("say here what a body of {other} looks like"),
        }
    }
}

/// Where a sample request is understood and refused for a reason of its own.
pub(super) fn refused_by_nature(route: &Route) -> Option<u16> {
    match route.name {
        "cookies_sign_in" | "cookies_refresh" | "cookies_verify_mfa" => Some(401),
        "accounts_change_password"
        | "accounts_close_me"
        | "accounts_reset_password"
        | "accounts_verify_email" => Some(400),
        "accounts_remove_totp" | "accounts_renew_recovery_codes" => Some(401),
        "tenants_join" | "accounts_confirm_totp" => Some(404),
        _ => None,
    }
}

/// What a sample request hands out or takes away, which its caller must have as well.
pub(super) fn handed_out(route: &Route) -> &'static [Permission] {
    use Permission::{UserRead, VaultRead, VaultWrite, VmEnroll, VmRead, VmWrite};
    match route.name {
        "tenants_change_member" => &[UserRead, VaultRead, VaultWrite, VmEnroll, VmRead, VmWrite],
        "tenants_remove_member" | "tenants_invite" => &[VaultRead, VmRead],
        _ => &[],
    }
}
