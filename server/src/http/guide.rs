//! What the table of routes cannot say of a route: in words, by an example, and why it may refuse.

/// What a person needs to call a route.
pub(super) struct Guide {
    route: &'static str,
    pub(super) summary: &'static str,
    /// JSON, where the route takes a body.
    example: &'static str,
    /// Pairs of status and code, beside those that many routes share.
    refusals: &'static str,
}

impl Guide {
    /// The guide of the route with this name.
    pub(super) fn to(route: &str) -> Option<&'static Self> {
        GUIDES.iter().find(|guide| guide.route == route)
    }

    /// A body that the route takes.
    pub(super) fn example(&self) -> Option<serde_json::Value> {
        serde_json::from_str(self.example).ok()
    }

    /// Status and code of each refusal of its own.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (u16, &'static str)> {
        pairs(self.refusals)
    }
}

/// `404 not_found 409 key_revoked` as pairs.
pub(super) fn pairs(text: &'static str) -> impl Iterator<Item = (u16, &'static str)> {
    let mut words = text.split_ascii_whitespace();
    std::iter::from_fn(move || Some((words.next()?.parse().ok()?, words.next()?)))
}

const fn guide(
    route: &'static str,
    summary: &'static str,
    example: &'static str,
    refusals: &'static str,
) -> Guide {
    Guide {
        route,
        summary,
        example,
        refusals,
    }
}

#[rustfmt::skip]
const GUIDES: &[Guide] = &[
    guide("status_index", "The server's name, version and paths.", "", ""),
    guide("status_health", "Whether the server and what it depends on are well.", "", ""),
    guide("status_ready", "Whether the server takes requests.", "", ""),
    guide("metrics_show", "What the server counts, for who shows the operator's token.", "", "401 unauthenticated 404 not_found"),
    guide("status_database", "Whether the database answers, and which engine it is.", "", ""),
    guide("openapi_document", "The OpenAPI document that this page is made from.", "", ""),
    guide("docs_page", "This page.", "", ""),
    guide("sessions_published", "The keys by which access tokens are checked (RFC 7517).", "", ""),
    guide("status_instance", "The server's public keys and its bounds, for agents and clients.", "", ""),

    guide("accounts_register", "Makes an account, with a tenant that it owns, and signs in.",
        r#"{"username": "ada", "email": "ada@example.org", "password": "SecurePass123!"}"#,
        "400 weak_password 400 already_registered 403 switched_off 429 rate_limited"),
    guide("cookies_sign_in", "Signs in with a username or an e-mail address.",
        r#"{"username": "ada", "password": "SecurePass123!"}"#,
        "401 invalid_credentials 401 invalid_code 403 email_unverified 429 rate_limited"),
    guide("cookies_refresh", "Exchanges a refresh token for new tokens.",
        r#"{"refresh_token": "kfr_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
        "401 invalid_refresh_token 403 csrf_token_missing 429 rate_limited"),
    guide("cookies_sign_out", "Ends this session.", "", ""),
    guide("cookies_sign_out_everywhere", "Ends every session of the caller, this one too.", "", ""),
    guide("sessions_list", "The caller's sessions that have not ended, newest first.", "", ""),
    guide("sessions_end", "Ends one of the caller's sessions.", "", ""),
    guide("sessions_list_devices", "From where the caller has signed in, newest first.", "", ""),
    guide("sessions_forget_device", "Forgets a device, and ends the sessions that it has.", "", ""),
    guide("accounts_verify_email", "Proves by a mailed token that an e-mail address is one's own.",
        r#"{"token": "kfe_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#, "400 invalid_token"),
    guide("accounts_resend_verification", "Mails the link to verify an address again.",
        r#"{"email": "ada@example.org"}"#, "429 rate_limited"),
    guide("accounts_forgot_password", "Mails a link to choose a new password.",
        r#"{"email": "ada@example.org"}"#, "403 switched_off 429 rate_limited"),
    guide("accounts_reset_password", "Sets a new password by a mailed token; every session ends.",
        r#"{"token": "kfe_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "new_password": "SecurePass124!"}"#,
        "400 invalid_token 400 weak_password 429 rate_limited"),
    guide("accounts_change_password", "Replaces the caller's password; all other sessions end.",
        r#"{"current_password": "SecurePass123!", "new_password": "SecurePass124!"}"#,
        "400 weak_password 429 rate_limited"),
    guide("accounts_me", "The caller: account, tenant, roles, permissions, plan.", "", ""),
    guide("accounts_change_me", "Changes the caller's names and address.",
        r#"{"full_name": "Ada L."}"#, "400 already_registered 429 rate_limited"),
    guide("accounts_close_me", "Closes the caller's account; what only they own is destroyed.",
        r#"{"current_password": "SecurePass123!"}"#,
        "401 invalid_code 409 last_owner 409 last_admin 429 rate_limited"),
    guide("accounts_export_me", "The caller's data to take away: account, second factors, sessions, devices, identities, tenants, API keys and what they did.",
        "", "429 rate_limited"),
    guide("accounts_show_mfa", "Which second factors the caller has.", "", ""),
    guide("cookies_verify_mfa", "The second step of a login.",
        r#"{"mfa_token": "kfm_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "code": "123456"}"#,
        "401 invalid_code 401 invalid_mfa_token 429 rate_limited"),
    guide("accounts_start_totp", "Makes a secret for an authenticator app.",
        r#"{"current_password": "SecurePass123!"}"#, "409 already_exists 429 rate_limited"),
    guide("accounts_confirm_totp", "Proves that the app has the secret, and gives recovery codes.",
        r#"{"code": "123456"}"#, "401 invalid_code 404 not_found 409 already_exists 429 rate_limited"),
    guide("accounts_remove_totp", "Forgets the app and the recovery codes.",
        r#"{"code": "123456"}"#, "401 invalid_code 404 not_found 429 rate_limited"),
    guide("accounts_renew_recovery_codes", "Makes new recovery codes; the old ones are void.",
        r#"{"code": "123456"}"#, "401 invalid_code 404 not_found 429 rate_limited"),

    guide("accounts_list_providers", "Where one can sign in beside here.", "", ""),
    guide("providers_start", "Sends a browser to a provider. A program that waits for the session gives its port on the user's machine and the SHA-256 of what it alone knows: ?port=...&challenge=...",
        "", "404 not_found 429 rate_limited 502 provider_failed"),
    guide("providers_callback", "Takes a browser back from a provider.", "",
        "400 invalid_sign_in 401 invalid_credentials 403 provider_refused 403 provider_email_unverified 403 switched_off 404 not_found 409 account_exists 409 too_many 429 rate_limited 502 provider_failed"),
    guide("cookies_redeem", "Exchanges what a program was handed after a sign-in at a provider for a session.",
        r#"{"code": "kfc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "verifier": "what the program alone knows"}"#,
        "400 invalid_sign_in 401 invalid_credentials"),
    guide("accounts_list_identities", "The providers by which the caller can sign in, oldest first.", "", ""),
    guide("accounts_remove_identity", "Takes a provider away: it signs the caller in no more.", "", "404 not_found"),

    guide("accounts_list_api_keys", "The caller's API keys for programs, oldest first.", "", ""),
    guide("accounts_add_api_key", "Makes an API key for a program, and shows it once.",
        r#"{"name": "backup", "expires_in_days": 90, "permissions": ["vault:read"]}"#,
        "403 switched_off 409 too_many"),
    guide("accounts_revoke_api_key", "Ends an API key.", "", ""),

    guide("tenants_list", "The tenants that the caller belongs to, oldest first.", "", ""),
    guide("tenants_add_tenant", "Makes a tenant that the caller owns.", r#"{"name": "Engines"}"#,
        "409 plan_limit 409 too_many"),
    guide("tenants_show_tenant", "The tenant of this session.", "", "404 not_found"),
    guide("tenants_change_tenant", "Changes the tenant of this session.", r#"{"name": "Engines"}"#, "404 not_found"),
    guide("tenants_leave", "Leaves the tenant of this session.", "", "404 not_found 409 last_owner"),
    guide("tenants_enter", "Starts a session in another tenant of the caller's.", "", ""),
    guide("tenants_members", "The members of the tenant.", "", ""),
    guide("tenants_change_member", "Gives a member another role.", r#"{"role": "member"}"#, "409 last_owner"),
    guide("tenants_remove_member", "Sends a member away.", "", "409 last_owner"),
    guide("tenants_invitations", "The open invitations of the tenant.", "", ""),
    guide("tenants_invite", "Invites somebody by mail, for seven days.",
        r#"{"email": "bob@example.org", "role": "viewer"}"#, "409 too_many"),
    guide("tenants_join", "Accepts an invitation.",
        r#"{"token": "kfi_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#, "404 not_found 409 already_exists 409 too_many"),
    guide("tenants_withdraw", "Withdraws an invitation.", "", ""),
    guide("tenants_roles", "The roles that members can have: everyone's, then the tenant's own by name.", "", ""),
    guide("tenants_put_role", "Makes a role of the tenant's own, or changes what it permits.",
        r#"{"permissions": ["code:generate"]}"#, "409 already_exists 409 too_many"),
    guide("tenants_delete_role", "Deletes a role that nobody has.", "", "409 role_in_use"),
    guide("tenants_plans", "The plans that tenants can be on, the smallest first.", "", ""),

    guide("vault_list", "The keys of the tenant by name, without their values.", "", ""),
    guide("vault_put", "Stores a new key. Clients seal the value to the server's key; curl may send it plain.",
        r#"{"provider": "openai", "value": "sk-example", "policy": {"vms": "all"}}"#,
        "400 invalid_sealed 409 already_exists 409 too_many 409 version_conflict"),
    guide("vault_show", "One key, without its value.", "", ""),
    guide("vault_change_policy", "Changes where a key goes and what it may be used for; its value stays.",
        r#"{"policy": {"delivery": "inject", "budget": {"requests_per_day": 1000}}}"#, "409 key_revoked"),
    guide("vault_remove", "Revokes a key and forgets it with its history.", "", ""),
    guide("vault_rotate", "Gives a key a new value, which reaches the machines at once.",
        r#"{"value": "sk-another-example", "overlap_seconds": 60}"#,
        "400 invalid_sealed 409 version_conflict 409 key_revoked"),
    guide("vault_revoke", "Destroys every version of a key, here and in every machine.", "", ""),
    guide("vault_versions", "The versions of a key, newest first.", "", ""),

    guide("delivery_list_vms", "The VMs of the tenant by name.", "", ""),
    guide("delivery_add_vm", "Adds a VM.", r#"{"name": "kali-1"}"#, "409 already_exists 409 plan_limit"),
    guide("delivery_show_vm", "One VM.", "", ""),
    guide("delivery_change_vm", "Renames a VM, cuts it off or lets it back.",
        r#"{"name": "kali-1", "status": "active"}"#, "409 already_exists"),
    guide("delivery_remove_vm", "Cuts a VM off, so that its agent wipes, and forgets it.", "", ""),
    guide("delivery_issue_ticket", "Makes a one-time ticket by which an agent enrols, and shows it once.",
        "", "409 vm_cut_off"),
    guide("delivery_wipe_vm", "Wipes every key in a VM and ends its access.", "", ""),
    guide("delivery_held", "What a VM was told about each version, and what it acknowledged.", "", ""),

    guide("operators_users", "Every account, oldest first.", "", ""),
    guide("operators_add_user", "Makes an account for somebody, who is mailed a link to choose a password.",
        r#"{"email": "bob@example.org", "username": "bob"}"#, "400 already_registered"),
    guide("operators_show_user", "One account.", "", ""),
    guide("operators_unlock_user", "Forgets failed logins, so that a locked account can be tried again.", "", ""),
    guide("operators_disable_user", "Closes an account and ends its sessions.", "",
        "409 own_account 409 last_admin"),
    guide("operators_enable_user", "Makes a closed account what it was before.", "", ""),
    guide("operators_reset_user_password", "Mails the account's owner a link to choose a new password.",
        "", "409 no_email"),
    guide("operators_tenants", "Every tenant with how much it has, oldest first.", "", ""),
    guide("operators_change_tenant", "Puts a tenant on a plan.", r#"{"plan": "pro"}"#, ""),
    guide("operators_change_limits", "Changes what a plan allows, from the next request of its tenants on.",
        r#"{"vms": 5, "features": ["workbenches"]}"#, "404 not_found"),
    guide("operators_stats", "How much there is on this server.", "", ""),

    guide("events_stream", "What happens to keys and VMs, as it happens: server-sent events.", "", "503 overloaded"),
    guide("delivery_enrolments_ask", "An agent asks to be approved, and gets the code that it shows.",
        r#"{"agent_key": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE", "name": "kali-1"}"#,
        "429 rate_limited"),
    guide("delivery_enrolments_poll", "An agent asks whether it has been approved, and fetches its ticket.",
        r#"{"device_code": "kfd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
        "400 authorization_pending 400 slow_down 400 access_denied 400 expired_token 409 vm_cut_off"),
    guide("delivery_enrolments_list", "The agents that wait for this tenant, and those that it has decided.", "", ""),
    guide("delivery_enrolments_show", "The agent that shows this code.", "", "404 not_found 429 rate_limited"),
    guide("delivery_enrolments_approve", "Lets the agent that shows this code enrol.",
        r#"{"name": "kali-1"}"#,
        "404 not_found 409 already_decided 409 vm_cut_off 409 plan_limit 429 rate_limited"),
    guide("delivery_enrolments_deny", "Turns the agent that shows this code away.", "",
        "404 not_found 409 already_decided 429 rate_limited"),

    guide("websocket_upgrade", "The agent protocol, in a WebSocket of the subprotocol `keyferry.v1`.",
        "", "400 upgrade_required"),
    guide("audit_list", "What happened in the caller's tenant, newest first.", "", ""),
    guide("audit_export", "The same as lines of JSON, oldest first, a thousand at once.", "", ""),
    guide("audit_verify_own", "Whether anybody has changed, removed or added events behind the server's back.", "", "503 overloaded"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{GUIDES, Guide, pairs};
    use crate::http::describe::Schemas;
    use crate::http::openapi::{OF_BODIES, OF_CALLERS, OF_EVERYTHING};
    use crate::http::routes::ROUTES;

    /// What `error.rs` can answer, read out of its own table.
    fn known() -> BTreeSet<(u16, &'static str)> {
        let table = include_str!("../error.rs");
        let rows = table.lines().filter_map(|line| {
            let (_, answer) = line.trim().strip_prefix("Self::")?.split_once(" => (")?;
            let (status, code) = answer.strip_suffix("\"),")?.split_once(", \"")?;
            Some((status.parse().ok()?, code))
        });
        rows.collect()
    }

    #[test]
    fn every_route_has_a_guide_and_every_guide_a_route() {
        for route in ROUTES {
            let guide = Guide::to(route.name);
            let guide = guide.unwrap_or_else(|| panic!("write a guide to {}", route.name));
            let mut schemas = Schemas::new();
            let mut operation = schemas.operation();
            (route.describe)(&mut operation);
            let takes_body = operation.body.is_some();
            assert_eq!(guide.example().is_some(), takes_body, "{}", route.name);
        }
        assert_eq!(GUIDES.len(), ROUTES.len());
    }

    #[test]
    fn what_a_guide_refuses_with_is_known() {
        let known = known();
        assert!(known.len() > 30);
        let shared = [OF_EVERYTHING, OF_BODIES, OF_CALLERS]
            .into_iter()
            .flat_map(pairs);
        for refusal in GUIDES.iter().flat_map(Guide::refusals).chain(shared) {
            assert!(known.contains(&refusal), "{refusal:?}");
        }
    }

    #[test]
    fn the_list_of_codes_is_the_one_of_the_server() {
        let listed = include_str!("../../../docs/STATUS_CODES.md");
        let rows = listed.lines().filter_map(|line| {
            let (status, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
            Some((status.parse().ok()?, rest.split('`').next()?))
        });
        let listed: BTreeSet<(u16, &str)> = rows.collect();
        assert_eq!(listed, known());
    }

    #[test]
    fn every_route_stands_in_the_rest_document() {
        let document = include_str!("../../../docs/REST.md");
        for route in ROUTES {
            let shown = format!("{} {}", route.method, route.path);
            assert!(
                document.contains(&format!("`{shown}`"))
                    || document.contains(&format!("{shown}\n"))
                    || document.contains(&format!("{shown} ·")),
                "docs/REST.md does not tell of {shown}"
            );
        }
    }
}
