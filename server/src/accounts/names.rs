//! What an account may be called.

use std::str::FromStr;

use crate::error::ApiError;
use crate::store::{StoreError, UserId};

/// 3 to 50 of `A-Z a-z 0-9 - _ .`, unique without regard to case.
#[derive(Clone, Debug)]
pub(crate) struct Username(String);

/// An e-mail address of at most 100 characters, unique without regard to case.
#[derive(Clone, Debug)]
pub(crate) struct Email(String);

impl Username {
    /// What it looks like.
    pub(crate) const PATTERN: &str = "^[A-Za-z0-9_.-]{3,50}$";

    /// A name that somebody takes now: none that looks like an id, by which operators call
    /// accounts as well.
    pub(crate) fn chosen(text: &str) -> Result<Self, ApiError> {
        if text.parse::<UserId>().is_ok() {
            return Err(ApiError::invalid("username", "looks like an id"));
        }
        text.parse()
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The form in which it is unique.
    pub(crate) fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl Email {
    /// What it looks like, at most 100 characters long.
    pub(crate) const PATTERN: &str = r"^[^\s<>@\x00-\x1f\x7f-\x9f]+@[^\s<>@\x00-\x1f\x7f-\x9f]+$";

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The form in which it is unique.
    pub(crate) fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

impl FromStr for Username {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (3..=50).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        valid.then(|| Self(text.to_owned())).ok_or_else(|| {
            ApiError::invalid(
                "username",
                "is 3 to 50 letters, digits, hyphens, dots or underscores",
            )
        })
    }
}

impl FromStr for Email {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text
            .chars()
            .all(|c| !c.is_control() && !c.is_whitespace() && c != '<' && c != '>');
        let parts = text.split_once('@');
        let valid = text.chars().count() <= 100
            && plain
            && parts.is_some_and(|(who, host)| {
                !who.is_empty() && !host.is_empty() && !host.contains('@')
            });
        valid
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| ApiError::invalid("email", "is not an e-mail address"))
    }
}

/// Which of its names an account cannot have, because another one has it.
pub(super) fn taken(cause: StoreError) -> ApiError {
    match cause {
        StoreError::Exists(_) if cause.is_of("email_key") => ApiError::AlreadyRegistered("email"),
        StoreError::Exists(_) => ApiError::AlreadyRegistered("username"),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Email, Username};

    #[test]
    fn names_out_of_bounds_are_refused() {
        for wrong in ["", "ab", "a b c", "ada\0", "änne", &"a".repeat(51)] {
            assert!(wrong.parse::<Username>().is_err(), "{wrong:?}");
        }
        for wrong in [
            "",
            "ada",
            "@x",
            "ada@",
            "a@b@c",
            "a da@x",
            &format!("{}@x.org", "a".repeat(95)),
        ] {
            assert!(wrong.parse::<Email>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn case_makes_no_second_name() {
        assert_eq!("Ada".parse::<Username>().unwrap().key(), "ada");
        assert_eq!(
            "Ada@Example.ORG".parse::<Email>().unwrap().key(),
            "ada@example.org"
        );
    }
}
