//! The roles of a tenant: those that every tenant has, and its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::reach::Reach;
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::page::{List, Page};
use crate::sessions::{BuiltIn, LONGEST, MOST, Permission, Permissions, Role, SignedIn};
use crate::store::{TenantId, Transaction};

/// A role and what it permits.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownRole {
    name: String,
    permissions: Permissions,
    built_in: bool,
}

/// The body of `PUT /roles/{name}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRole {
    permissions: Permissions,
}

impl ShownRole {
    fn of(role: &Role) -> Self {
        Self {
            name: role.name().to_owned(),
            permissions: role.permissions().clone(),
            built_in: BuiltIn::named(role.name()).is_some(),
        }
    }
}

/// Every role that a member of the caller's tenant can have: everyone's, then its own by name.
pub(crate) async fn roles(
    app: &App,
    caller: &SignedIn,
    page: &Page,
) -> Result<List<ShownRole>, ApiError> {
    caller.require(Permission::UserRead)?;
    let after = page.after.as_deref().unwrap_or_default();
    let place = BuiltIn::ALL.iter().position(|role| role.name() == after);
    let (skipped, own_after) = match place {
        Some(place) => (place + 1, ""),
        None if after.is_empty() => (0, ""),
        None => (BuiltIn::ALL.len(), after),
    };
    let own = app
        .store
        .roles(caller.tenant_id(), own_after, page.rows())
        .await?;
    let own = own
        .into_iter()
        .map(|stored| Role::of(stored.name, Some(&stored.permissions)));
    let own = own.collect::<Result<Vec<_>, _>>();
    let built_in = BuiltIn::ALL.into_iter().skip(skipped).map(Role::from);
    let shown = built_in
        .chain(own.map_err(ApiError::internal)?)
        .map(|role| ShownRole::of(&role));
    let shown = shown.take(usize::from(page.limit) + 1).collect();
    Ok(List::new(shown, page, |role| role.name.clone()))
}

/// Makes a role, or changes what it permits; for its members it counts from the next request on.
pub(crate) async fn put_role(
    app: &App,
    caller: &SignedIn,
    name: RoleName,
    new: NewRole,
) -> Result<ShownRole, ApiError> {
    caller.require(Permission::TenantAdmin)?;
    if BuiltIn::named(&name.0).is_some() {
        return Err(ApiError::AlreadyExists);
    }
    check(&new.permissions)?;
    let list = serde_json::to_string(&new.permissions).map_err(ApiError::internal)?;
    let role = Role::of(name.0, Some(&list)).map_err(ApiError::internal)?;
    let mut change = app.store.begin().await?;
    let reach = Reach::hold(&mut change, caller, Permission::TenantAdmin).await?;
    reach.require(&role)?;
    has_place(&mut change, (caller.tenant_id(), &reach), &role).await?;
    let now = app.clock.now();
    change
        .put_role(caller.tenant_id(), (role.name(), &list), now)
        .await?;
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "role.put",
        subject: Some(role.name()),
        detail: json!({ "permissions": role.permissions() }),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    Ok(ShownRole::of(&role))
}

/// What it takes the place of is in reach too, or there is room for one more.
async fn has_place(
    change: &mut Transaction,
    (tenant, reach): (TenantId, &Reach),
    role: &Role,
) -> Result<(), ApiError> {
    match change.role(tenant, role.name()).await? {
        Some(before) => {
            let before = Role::of(before.name, Some(&before.permissions));
            reach.require(&before.map_err(ApiError::internal)?)
        }
        None if change.count_roles(tenant).await? >= MOST_ROLES => Err(ApiError::TooMany),
        None => Ok(()),
    }
}

/// Deletes a role that nobody has.
pub(crate) async fn delete_role(
    app: &App,
    caller: &SignedIn,
    name: RoleName,
) -> Result<(), ApiError> {
    let tenant = caller.tenant_id();
    let mut change = app.store.begin().await?;
    Reach::hold(&mut change, caller, Permission::TenantAdmin).await?;
    let stored = change.role(tenant, &name.0).await?;
    let stored = stored.ok_or(ApiError::NotFound)?;
    if change.role_is_used(tenant, &stored.name).await? {
        return Err(ApiError::RoleInUse);
    }
    change.delete_role(tenant, &stored.name).await?;
    let entry = Entry {
        tenant: Some(tenant),
        actor: &caller.actor(),
        action: "role.delete",
        subject: Some(&stored.name),
        detail: json!({}),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    Ok(())
}

/// The role of this name, which members of the caller's tenant can have. As long as the tenant is
/// held, nobody deletes it.
pub(super) async fn role_named(
    change: &mut Transaction,
    caller: &SignedIn,
    name: &str,
) -> Result<Role, ApiError> {
    let name: RoleName = name.parse().map_err(|_| no_such_role())?;
    let own = change.role(caller.tenant_id(), &name.0).await?;
    let list = own.map(|own| own.permissions);
    Role::of(name.0, list.as_deref()).map_err(|_| no_such_role())
}

fn no_such_role() -> ApiError {
    ApiError::invalid("role", "is no role of this tenant")
}

/// A role's name: a lower case word.
pub(crate) struct RoleName(String);

impl RoleName {
    pub(crate) const PATTERN: &str = "^[a-z][a-z0-9_-]{1,39}$";
}

impl std::str::FromStr for RoleName {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (2..=40).contains(&text.len()) && is_word(text);
        let detail = "is 2 to 40 lower case letters, digits, hyphens or underscores";
        valid
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| ApiError::invalid("name", detail))
    }
}

fn check(permissions: &Permissions) -> Result<(), ApiError> {
    let wrong = |detail| Err(ApiError::invalid("permissions", detail));
    if permissions.names().len() > MOST {
        return wrong("are at most 32");
    }
    let well_formed = |name: &str| {
        let words = name.split_once(':');
        name.len() <= LONGEST && words.is_some_and(|(whose, what)| is_word(whose) && is_word(what))
    };
    if !permissions.names().all(well_formed) {
        return wrong("look like area:action in lower case");
    }
    let guards = |name: &str| Permission::ALL.iter().any(|guarded| guarded.name() == name);
    let misspelt = |name: &str| AREAS.iter().any(|area| name.starts_with(area)) && !guards(name);
    if permissions.names().any(misspelt) {
        return wrong("name one of this server's areas, but nothing that it guards");
    }
    Ok(())
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

/// Of one tenant's own.
const MOST_ROLES: i64 = 1_000;
/// Areas in which only this server defines permissions.
const AREAS: [&str; 5] = ["audit:", "tenant:", "user:", "vault:", "vm:"];
