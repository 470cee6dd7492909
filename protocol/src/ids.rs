//! Names and numbers that both sides of the protocol use.

use std::fmt;
use std::str::FromStr;

/// The name of a provider key within its tenant: 1 to 64 of `A-Z a-z 0-9 - _ .`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// A name that no key can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key name is 1 to 64 of the characters A-Z a-z 0-9 - _ .")]
pub struct BadKeyName;

impl KeyName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = BadKeyName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        valid.then(|| Self(text.to_owned())).ok_or(BadKeyName)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A 128-bit id, printed as a UUID.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (position, byte) in self.0.iter().enumerate() {
                    if [4, 6, 8, 10].contains(&position) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    };
}

id!(
    /// A virtual machine, as the server knows it.
    VmId
);
id!(
    /// One connection of an agent, from its handshake to its end.
    SessionId
);
id!(
    /// One run of an agent process, in the clear at the start of each of its handshakes.
    InstanceId
);
id!(
    /// A ticket or a reattach credential.
    CredentialId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_allowed_characters_and_lengths_are_accepted() {
        for name in ["openai", "groq-prod", "A.b_c-9", &"x".repeat(64)] {
            assert_eq!(
                name.parse::<KeyName>().map(|name| name.to_string()),
                Ok(name.to_owned())
            );
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["", "a b", "ключ", "a/b", "a\0", &"x".repeat(65)] {
            assert_eq!(name.parse::<KeyName>(), Err(BadKeyName));
        }
    }

    #[test]
    fn ids_print_as_uuids() {
        let id = VmId(*b"\x01\x92\x00\x01\x02\x03\x70\x00\x80\x00\x00\x00\x00\x00\x00\xff");
        assert_eq!(id.to_string(), "01920001-0203-7000-8000-0000000000ff");
    }
}
