//! The whole HTTP surface, one line per endpoint: method, path, who may call it, what it does.
//!
//! From these rows come dispatch, access, `405` with `Allow`, the OpenAPI document and the matrix
//! of tests. A use case that needs a signed-in caller takes a
//! [`SignedIn`](crate::sessions::SignedIn), and only `sessions` can make one: leaving the check
//! out of a row does not compile. How to read a row is told at [`super::rows`].

use hyper::{Method, StatusCode};

use super::describe::{Answer, Slot};
use super::rows::{access, after, argument, caller, received, routes, slot};
use super::table::{Access, Route};
use super::{
    cookies, docs, events, metrics, openapi, providers, reply, request, status, websocket,
};
use crate::sessions::Permission;
use crate::{accounts, audit, delivery, operators, sessions, tenants, vault};

routes! {
    GET    "/"                         anyone          => OK         status::index();
    GET    "/health"                   anyone          => OK         status::health(app);
    GET    "/ready"                    anyone          => OK         status::ready(app);
    GET    "/metrics"                  anyone          => OK         metrics::show(call);
    GET    "/database/status"          anyone          => OK         status::database(app);
    GET    "/openapi.json"             anyone          => OK         openapi::document();
    GET    "/docs"                     anyone          => OK         docs::page();
    GET    "/.well-known/jwks.json"    anyone          => OK         sessions::published(app);
    GET    "/.well-known/keyferry"     anyone          => OK         status::instance(app);

    POST   "/auth/register"            anyone          => CREATED    accounts::register(app, origin, body) then close;
    POST   "/auth/login"               anyone          => OK         cookies::sign_in(call, body) then close;
    POST   "/auth/refresh"             anyone          => OK         cookies::refresh(call, body);
    POST   "/auth/logout"              new_person      => NO_CONTENT cookies::sign_out(call, caller);
    POST   "/auth/logout-all"          new_person      => NO_CONTENT cookies::sign_out_everywhere(call, caller);
    GET    "/auth/sessions"            signed_in       => OK         sessions::list(app, caller, page);
    DELETE "/auth/sessions/{session}"  person          => NO_CONTENT sessions::end(app, caller, session);
    GET    "/auth/devices"             signed_in       => OK         sessions::list_devices(app, caller, page);
    DELETE "/auth/devices/{device}"    person          => NO_CONTENT sessions::forget_device(app, caller, device);
    POST   "/auth/email/verify"        anyone          => NO_CONTENT accounts::verify_email(app, origin, body);
    POST   "/auth/email/resend"        anyone          => ACCEPTED   accounts::resend_verification(app, origin, body);
    POST   "/auth/password/forgot"     anyone          => ACCEPTED   accounts::forgot_password(app, origin, body);
    POST   "/auth/password/reset"      anyone          => NO_CONTENT accounts::reset_password(app, origin, body) then close;
    POST   "/auth/password/change"     person          => NO_CONTENT accounts::change_password(app, origin, caller, body) then close;
    GET    "/auth/me"                  newcomer        => OK         accounts::me(app, caller);
    PATCH  "/auth/me"                  person          => OK         accounts::change_me(app, origin, caller, body) then close;
    DELETE "/auth/me"                  person          => NO_CONTENT accounts::close_me(app, origin, caller, body) then close;
    GET    "/auth/me/export"           person          => OK         accounts::export_me(app, caller);
    GET    "/auth/mfa"                 newcomer        => OK         accounts::show_mfa(app, caller);
    POST   "/auth/mfa/verify"          anyone          => OK         cookies::verify_mfa(call, body) then close;
    POST   "/auth/mfa/totp/start"      new_person      => CREATED    accounts::start_totp(app, origin, caller, body) then close;
    POST   "/auth/mfa/totp/confirm"    new_person      => OK         accounts::confirm_totp(app, caller, body) then close;
    DELETE "/auth/mfa/totp"            person          => NO_CONTENT accounts::remove_totp(app, caller, body) then close;
    POST   "/auth/mfa/recovery-codes"  person          => OK         accounts::renew_recovery_codes(app, caller, body) then close;

    GET    "/auth/providers"           anyone          => OK         accounts::list_providers(app);
    GET    "/auth/providers/{provider}/start"    anyone => SEE_OTHER providers::start(call, provider);
    GET    "/auth/providers/{provider}/callback" anyone => SEE_OTHER providers::callback(call, provider);
    POST   "/auth/providers/exchange"  anyone          => OK         cookies::redeem(call, body) then close;
    GET    "/auth/identities"          signed_in       => OK         accounts::list_identities(app, caller, page);
    DELETE "/auth/identities/{identity}" person        => NO_CONTENT accounts::remove_identity(app, caller, identity);

    GET    "/auth/api-keys"            signed_in       => OK         accounts::list_api_keys(app, caller, page);
    POST   "/auth/api-keys"            person          => CREATED    accounts::add_api_key(app, caller, body) then close;
    DELETE "/auth/api-keys/{id}"       person          => NO_CONTENT accounts::revoke_api_key(app, caller, id);

    GET    "/tenants"                  newcomer        => OK         tenants::list(app, caller, page);
    POST   "/tenants"                  person          => CREATED    tenants::add_tenant(app, caller, body);
    GET    "/tenants/current"          newcomer        => OK         tenants::show_tenant(app, caller);
    PATCH  "/tenants/current"          may(TenantAdmin) => OK        tenants::change_tenant(app, caller, body);
    POST   "/tenants/current/leave"    new_person      => NO_CONTENT tenants::leave(app, caller);
    POST   "/tenants/{tenant}/enter"   new_person      => OK         tenants::enter(app, origin, caller, tenant) then close;
    GET    "/members"                  may(UserRead)   => OK         tenants::members(app, caller, page);
    PATCH  "/members/{user}"           may(UserAdmin)  => OK         tenants::change_member(app, caller, user, body);
    DELETE "/members/{user}"           may(UserAdmin)  => NO_CONTENT tenants::remove_member(app, caller, user);
    GET    "/invitations"              may(UserAdmin)  => OK         tenants::invitations(app, caller, page);
    POST   "/invitations"              may(UserAdmin)  => CREATED    tenants::invite(app, caller, body);
    POST   "/invitations/accept"       person          => OK         tenants::join(app, caller, body);
    DELETE "/invitations/{invitation}" may(UserAdmin)  => NO_CONTENT tenants::withdraw(app, caller, invitation);
    GET    "/roles"                    may(UserRead)   => OK         tenants::roles(app, caller, page);
    PUT    "/roles/{name}"             may(TenantAdmin) => OK        tenants::put_role(app, caller, name, body);
    DELETE "/roles/{name}"             may(TenantAdmin) => NO_CONTENT tenants::delete_role(app, caller, name);
    GET    "/plans"                    anyone          => OK         tenants::plans(app);

    GET    "/keys"                     may(VaultRead)  => OK         vault::list(app, caller, page);
    PUT    "/keys/{name}"              may(VaultWrite) => CREATED    vault::put(app, caller, name, body) then close;
    GET    "/keys/{name}"              may(VaultRead)  => OK         vault::show(app, caller, name);
    PATCH  "/keys/{name}"              may(VaultWrite) => OK         vault::change_policy(app, caller, name, body);
    DELETE "/keys/{name}"              may(VaultWrite) => NO_CONTENT vault::remove(app, caller, name);
    POST   "/keys/{name}/rotate"       may(VaultWrite) => OK         vault::rotate(app, caller, name, body) then close;
    POST   "/keys/{name}/revoke"       may(VaultWrite) => OK         vault::revoke(app, caller, name);
    GET    "/keys/{name}/versions"     may(VaultRead)  => OK         vault::versions(app, caller, name, page);

    GET    "/vms"                      may(VmRead)     => OK         delivery::list_vms(app, caller, page);
    POST   "/vms"                      may(VmWrite)    => CREATED    delivery::add_vm(app, caller, body);
    GET    "/vms/{id}"                 may(VmRead)     => OK         delivery::show_vm(app, caller, id);
    PATCH  "/vms/{id}"                 may(VmWrite)    => OK         delivery::change_vm(app, caller, id, body);
    DELETE "/vms/{id}"                 may(VmWrite)    => NO_CONTENT delivery::remove_vm(app, caller, id);
    POST   "/vms/{id}/ticket"          may(VmEnroll)   => CREATED    delivery::issue_ticket(app, caller, id) then close;
    POST   "/vms/{id}/wipe"            may(VmWrite)    => ACCEPTED   delivery::wipe_vm(app, caller, id);
    GET    "/vms/{id}/held"            may(VmRead)     => OK         delivery::held(app, caller, id, page);

    GET    "/admin/users"              server_admin    => OK         operators::users(app, caller, search);
    POST   "/admin/users"              server_admin    => CREATED    operators::add_user(app, origin, caller, body);
    GET    "/admin/users/{account}"    server_admin    => OK         operators::show_user(app, caller, account);
    POST   "/admin/users/{account}/unlock"  server_admin => OK       operators::unlock_user(app, caller, account);
    POST   "/admin/users/{account}/disable" server_admin => OK       operators::disable_user(app, caller, account);
    POST   "/admin/users/{account}/enable"  server_admin => OK       operators::enable_user(app, caller, account);
    POST   "/admin/users/{account}/reset-password" server_admin => ACCEPTED operators::reset_user_password(app, caller, account);
    GET    "/admin/tenants"            server_admin    => OK         operators::tenants(app, caller, search);
    PATCH  "/admin/tenants/{tenant}"   server_admin    => OK         operators::change_tenant(app, caller, tenant, body);
    PATCH  "/admin/plans/{plan}"       server_admin    => OK         operators::change_limits(app, caller, plan, body);
    GET    "/admin/stats"              server_admin    => OK         operators::stats(app, caller);

    GET    "/events"                   may(VmRead)     => OK         events::stream(call, caller);

    POST   "/enrolments"               anyone          => CREATED    delivery::enrolments::ask(app, origin, body);
    POST   "/enrolments/poll"          anyone          => OK         delivery::enrolments::poll(app, origin, body);
    GET    "/enrolments"               may(VmEnroll)   => OK         delivery::enrolments::list(app, caller, page);
    GET    "/enrolments/{code}"        may(VmEnroll)   => OK         delivery::enrolments::show(app, caller, code);
    POST   "/enrolments/{code}/approve" may(VmEnroll)  => OK         delivery::enrolments::approve(app, caller, code, body);
    POST   "/enrolments/{code}/deny"   may(VmEnroll)   => OK         delivery::enrolments::deny(app, caller, code);
    GET    "/audit"                    may(AuditRead)  => OK         audit::list(app, caller, filter);
    GET    "/audit/export"             may(AuditRead)  => OK         audit::export(app, caller, after);
    GET    "/audit/verify"             may(AuditRead)  => OK         audit::verify_own(app, caller);

    GET    "/agent"                    anyone          => SWITCHING_PROTOCOLS websocket::upgrade(call, request);
}

/// What stands for the caller where anyone may call: no use case takes it.
struct Nobody;
