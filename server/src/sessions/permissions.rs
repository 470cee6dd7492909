//! What a caller may do: permissions, and the roles that bundle them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

/// One thing that this server guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    AuditRead,
    TenantAdmin,
    UserAdmin,
    UserRead,
    VaultRead,
    VaultWrite,
    VmEnroll,
    VmRead,
    VmWrite,
}

/// A set of permissions by name: those of this server, and those that applications define
/// for themselves and read out of the access token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Permissions(BTreeSet<Cow<'static, str>>);

/// A member's role in a tenant, and what it permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    name: Cow<'static, str>,
    permissions: Permissions,
}

/// A role that every tenant has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltIn {
    Owner,
    Admin,
    Member,
    Viewer,
}

/// A membership names a role that the tenant does not have.
#[derive(Debug, thiserror::Error)]
#[error("the database holds an unknown role")]
pub(crate) struct UnknownRole;

/// A permission that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("there is no such permission")]
pub(crate) struct UnknownPermission;

impl Permission {
    /// Everything that this server guards.
    pub(crate) const ALL: [Self; 9] = [
        Self::AuditRead,
        Self::TenantAdmin,
        Self::UserAdmin,
        Self::UserRead,
        Self::VaultRead,
        Self::VaultWrite,
        Self::VmEnroll,
        Self::VmRead,
        Self::VmWrite,
    ];

    /// A list as the database keeps it, with spaces between.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, UnknownPermission> {
        text.split_ascii_whitespace().map(str::parse).collect()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AuditRead => "audit:read",
            Self::TenantAdmin => "tenant:admin",
            Self::UserAdmin => "user:admin",
            Self::UserRead => "user:read",
            Self::VaultRead => "vault:read",
            Self::VaultWrite => "vault:write",
            Self::VmEnroll => "vm:enroll",
            Self::VmRead => "vm:read",
            Self::VmWrite => "vm:write",
        }
    }
}

impl Permissions {
    /// Of these, the ones that the list names too.
    #[must_use]
    pub(crate) fn limited_to(&self, list: &[Permission]) -> Self {
        let both = list.iter().copied();
        both.filter(|permission| self.permit(*permission)).collect()
    }

    pub(crate) fn permit(&self, permission: Permission) -> bool {
        self.0.contains(permission.name())
    }

    /// What in here this server guards, whoever else may define more.
    pub(crate) fn guarded(&self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .into_iter()
            .filter(|permission| self.permit(*permission))
    }

    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let names = permissions.into_iter().map(Permission::name);
        Self(names.map(Cow::Borrowed).collect())
    }
}

impl Role {
    /// The role of this name: every tenant's, or the tenant's own with this list in the database.
    pub(crate) fn of(name: String, own: Option<&str>) -> Result<Self, UnknownRole> {
        if let Some(role) = BuiltIn::named(&name) {
            return Ok(role.into());
        }
        let permissions = own.and_then(|list| serde_json::from_str(list).ok());
        Ok(Self {
            name: name.into(),
            permissions: permissions.ok_or(UnknownRole)?,
        })
    }

    /// What a member is whose tenant demands a second factor that they do not have: nothing.
    pub(crate) fn suspended() -> Self {
        Self {
            name: "second_factor_owed".into(),
            permissions: Permissions::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is(&self, role: BuiltIn) -> bool {
        self.name == role.name()
    }

    /// Everything that the role may do.
    pub(crate) const fn permissions(&self) -> &Permissions {
        &self.permissions
    }
}

impl From<BuiltIn> for Role {
    fn from(role: BuiltIn) -> Self {
        Self {
            name: role.name().into(),
            permissions: role.permissions().iter().copied().collect(),
        }
    }
}

impl BuiltIn {
    /// From the most to the least that may be done.
    pub(crate) const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Member, Self::Viewer];

    pub(crate) fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == text)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    const fn permissions(self) -> &'static [Permission] {
        use Permission::{UserRead, VaultRead, VaultWrite, VmEnroll, VmRead, VmWrite};
        match self {
            Self::Owner | Self::Admin => &Permission::ALL,
            Self::Member => &[UserRead, VaultRead, VaultWrite, VmEnroll, VmRead, VmWrite],
            Self::Viewer => &[VaultRead, VmRead],
        }
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.name() == text)
            .ok_or(UnknownPermission)
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl JsonSchema for Role {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Role".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl JsonSchema for Permission {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Permission".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL })
    }
}

impl JsonSchema for Permissions {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Permissions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let name = json_schema!({ "type": "string", "pattern": PATTERN, "maxLength": LONGEST });
        json_schema!({ "type": "array", "items": name, "maxItems": MOST })
    }
}

/// What a permission's name looks like: whose, and what.
const PATTERN: &str = "^[a-z][a-z0-9_-]*:[a-z][a-z0-9_-]*$";
/// Bounds of a tenant's own role, so that an access token stays short enough to send.
pub(crate) const MOST: usize = 32;
pub(crate) const LONGEST: usize = 40;

#[cfg(test)]
mod tests {
    use super::{BuiltIn, Permission, Role};

    #[test]
    fn a_viewer_only_looks() {
        let viewer = Role::from(BuiltIn::Viewer);
        let names: Vec<&str> = viewer.permissions().names().collect();
        assert_eq!(names, ["vault:read", "vm:read"]);
        let member = Role::from(BuiltIn::Member);
        assert!(!member.permissions().permit(Permission::AuditRead));
        let owner = Role::from(BuiltIn::Owner);
        assert!(owner.permissions().permit(Permission::VmEnroll));
    }

    #[test]
    fn a_role_is_everyones_or_the_tenants_own() {
        let admin = Role::of("admin".to_owned(), None).unwrap();
        assert!(admin.is(BuiltIn::Admin));
        let own = Role::of(
            "coder".to_owned(),
            Some(r#"["code:generate", "vault:read"]"#),
        )
        .unwrap();
        let guarded: Vec<Permission> = own.permissions().guarded().collect();
        assert_eq!(guarded, [Permission::VaultRead]);
        assert_eq!(own.permissions().names().len(), 2);
        assert!(Role::of("root".to_owned(), None).is_err());
    }

    #[test]
    fn an_own_role_never_takes_the_place_of_everyones() {
        let viewer = Role::of("viewer".to_owned(), Some(r#"["vault:write"]"#)).unwrap();
        assert!(!viewer.permissions().permit(Permission::VaultWrite));
    }
}
