//! What a role may do.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// A member's role in a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Owner,
    Admin,
    Member,
    Viewer,
}

/// One thing that a caller may be permitted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    AuditRead,
    VaultRead,
    VaultWrite,
    VmEnroll,
    VmRead,
    VmWrite,
}

/// A role that the database holds and this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("the database holds an unknown role")]
pub(crate) struct UnknownRole;

/// A permission that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("there is no such permission")]
pub(crate) struct UnknownPermission;

impl Role {
    /// From the most to the least that may be done.
    pub(crate) const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Member, Self::Viewer];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    /// Everything that the role may do.
    pub(crate) const fn permissions(self) -> &'static [Permission] {
        use Permission::{AuditRead, VaultRead, VaultWrite, VmEnroll, VmRead, VmWrite};
        match self {
            Self::Owner | Self::Admin => {
                &[AuditRead, VaultRead, VaultWrite, VmEnroll, VmRead, VmWrite]
            }
            Self::Member => &[VaultRead, VaultWrite, VmEnroll, VmRead, VmWrite],
            Self::Viewer => &[VaultRead, VmRead],
        }
    }
}

impl Permission {
    /// Everything that this server guards.
    pub(crate) const ALL: [Self; 6] = [
        Self::AuditRead,
        Self::VaultRead,
        Self::VaultWrite,
        Self::VmEnroll,
        Self::VmRead,
        Self::VmWrite,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::AuditRead => "audit:read",
            Self::VaultRead => "vault:read",
            Self::VaultWrite => "vault:write",
            Self::VmEnroll => "vm:enroll",
            Self::VmRead => "vm:read",
            Self::VmWrite => "vm:write",
        }
    }
}

impl Permission {
    /// A list as the database keeps it, with spaces between.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, UnknownPermission> {
        text.split_ascii_whitespace().map(str::parse).collect()
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

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or(UnknownRole)
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
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
        json_schema!({ "type": "string", "enum": Self::ALL })
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

#[cfg(test)]
mod tests {
    use super::{Permission, Role};

    #[test]
    fn a_viewer_only_looks() {
        let permitted = Role::Viewer.permissions();
        assert_eq!(permitted, [Permission::VaultRead, Permission::VmRead]);
        assert!(!Role::Member.permissions().contains(&Permission::AuditRead));
        assert!(Role::Owner.permissions().contains(&Permission::VmEnroll));
    }

    #[test]
    fn a_role_is_known_by_its_name() {
        assert_eq!("admin".parse::<Role>().ok(), Some(Role::Admin));
        assert!("root".parse::<Role>().is_err());
    }
}
