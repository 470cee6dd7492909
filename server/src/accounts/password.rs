//! What a password must be.

use zeroize::Zeroizing;
use zxcvbn::zxcvbn;

use crate::config::PasswordSettings;
use crate::error::{ApiError, FieldError};

/// A password that the policy accepts, and that bcrypt reads to its last byte.
pub(crate) struct NewPassword(Zeroizing<String>);

impl NewPassword {
    /// Checks `text` against the policy; `known` are the words that a guesser tries first.
    pub(crate) fn parse(
        text: &str,
        known: &[&str],
        policy: &PasswordSettings,
    ) -> Result<Self, ApiError> {
        let mut faults = faults_of_form(text, policy);
        // Only what bcrypt can read is worth an estimate, which takes longer for longer texts.
        if faults.is_empty() && u8::from(zxcvbn(text, known).score()) < policy.min_score {
            faults.push("is too easy to guess".to_owned());
        }
        if faults.is_empty() {
            return Ok(Self(Zeroizing::new(text.to_owned())));
        }
        let faults = faults
            .into_iter()
            .map(|fault| FieldError::new("password", fault));
        Err(ApiError::WeakPassword(faults.collect()))
    }

    /// The text itself, for the hasher.
    pub(super) fn into_text(self) -> Zeroizing<String> {
        self.0
    }
}

/// The hash of no password. A reset by mail puts a real one in its place.
pub(super) const NO_PASSWORD: &str = "!";

/// Whether bcrypt reads the whole text: it stops at a NUL and after 72 bytes.
pub(crate) fn is_hashable(text: &str) -> bool {
    (1..=72).contains(&text.len()) && !text.contains('\0')
}

fn faults_of_form(text: &str, policy: &PasswordSettings) -> Vec<String> {
    let lacks = |class: fn(char) -> bool| !text.chars().any(class);
    let checks = [
        (
            text.len() < policy.min_bytes,
            format!("needs at least {} bytes", policy.min_bytes),
        ),
        (
            text.len() > 72,
            "must not be longer than 72 bytes".to_owned(),
        ),
        (text.contains('\0'), "must not hold a NUL".to_owned()),
        (
            lacks(char::is_uppercase),
            "needs an upper case letter".to_owned(),
        ),
        (
            lacks(char::is_lowercase),
            "needs a lower case letter".to_owned(),
        ),
        (lacks(|c| c.is_ascii_digit()), "needs a digit".to_owned()),
    ];
    checks
        .into_iter()
        .filter_map(|(wrong, fault)| wrong.then_some(fault))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::NewPassword;
    use crate::config::Config;
    use crate::error::ApiError;

    fn parse(text: &str, known: &[&str]) -> Result<NewPassword, ApiError> {
        NewPassword::parse(text, known, &Config::for_tests().passwords)
    }

    #[test]
    fn the_documented_passwords_pass() {
        for good in ["SecurePass123", "SecurePass123!", "SecurePassword123!"] {
            assert!(parse(good, &["ada", "ada@example.org"]).is_ok(), "{good}");
        }
    }

    #[test]
    fn weak_passwords_are_refused() {
        let nul = "Secure\0Pass123";
        for weak in [
            "",
            "123",
            "password",
            "abc123",
            "Password1",
            "securepass123",
            nul,
        ] {
            assert!(
                matches!(parse(weak, &[]), Err(ApiError::WeakPassword(_))),
                "{weak:?}"
            );
        }
    }

    #[test]
    fn a_password_is_refused_rather_than_cut_at_72_bytes() {
        let long = format!("Aa1{}", "correct horse battery ".repeat(4));
        assert!(parse(&long[..72], &[]).is_ok());
        assert!(parse(&long[..73], &[]).is_err());
        assert!(parse(&"ü".repeat(37), &[]).is_err());
    }

    #[test]
    fn ones_own_name_makes_a_password_guessable() {
        assert!(parse("Wigglesworth1", &[]).is_ok());
        assert!(parse("Wigglesworth1", &["wigglesworth"]).is_err());
    }
}
