//! Mail to people: by SMTP, or into a folder where there is none.

mod mailer;
mod route;

use zeroize::Zeroizing;

pub(crate) use mailer::Mailer;
pub(crate) use route::{MailError, Route};

use crate::accounts::Email;

/// A mail to one person. Its text may hold a token, so it is wiped.
pub(crate) struct Mail {
    pub(crate) to: Email,
    pub(crate) subject: String,
    pub(crate) text: Zeroizing<String>,
}

impl Mail {
    pub(crate) fn new(to: Email, subject: impl Into<String>, text: Zeroizing<String>) -> Self {
        Self {
            to,
            subject: subject.into(),
            text,
        }
    }
}

#[cfg(test)]
mod tests;
