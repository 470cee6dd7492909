//! Tokens that go to people by mail, and come back to prove that the mailbox is theirs.

use serde_json::json;
use tracing::error;
use zeroize::Zeroizing;

use super::Email;
use super::verify_email::MailOnItsWay;
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::limits;
use crate::mail::Mail;
use crate::sessions::Origin;
use crate::sessions::opaque::{OpaqueToken, Purpose};
use crate::store::{EmailTokenPurpose, NewEmailToken, StoreError, Transaction, UserId, uuid_v7};

/// A token to be mailed.
pub(super) struct MailedToken {
    token: OpaqueToken,
    row: NewEmailToken,
}

impl MailedToken {
    pub(super) fn new(app: &App, purpose: EmailTokenPurpose, user: UserId, email: &Email) -> Self {
        let now = app.clock.now();
        let token = OpaqueToken::random(&mut app.rng());
        let life = match purpose {
            EmailTokenPurpose::Verify => app.config.mail.verification_life,
            EmailTokenPurpose::Reset => app.config.mail.reset_life,
        };
        let row = NewEmailToken {
            id: uuid_v7(now, &mut app.rng()),
            user_id: user,
            purpose,
            email: email.clone(),
            token_hash: token.hash(),
            created_at: now,
            expires_at: now + life,
        };
        Self { token, row }
    }

    /// Stores its hash, and gives the mail to be sent once that is durable.
    pub(super) async fn keep(
        self,
        app: &App,
        change: &mut Transaction,
    ) -> Result<Mail, StoreError> {
        change.insert_email_token(&self.row).await?;
        Ok(self.into_mail(app))
    }

    fn into_mail(self, app: &App) -> Mail {
        let words = match self.row.purpose {
            EmailTokenPurpose::Verify => &VERIFY,
            EmailTokenPurpose::Reset => &RESET,
        };
        let server = app.public_urls.first().map_or("", String::as_str);
        let text = Zeroizing::new(format!(
            "To {}, run\n\n    keyferry {} --server {server}\n\n\
             which asks for this token, or send it to POST {server}{}:\n\n    {}\n\n\
             It counts once, until {}.\nIf you did not ask for this, do nothing.\n",
            words.purpose,
            words.command,
            words.route,
            *self.token.text(Purpose::Mail),
            self.row.expires_at
        ));
        Mail::new(self.row.email, words.subject, text)
    }
}

/// Mails a token to the address, if somebody waits for it there. That is found out after the
/// answer, which is therefore the same for every address and takes the same time.
pub(super) async fn mail_later(
    app: &App,
    origin: &Origin,
    email: Email,
    purpose: EmailTokenPurpose,
) -> Result<MailOnItsWay, ApiError> {
    limits::mail(app, origin, email.text()).await?;
    let (later, origin) = (app.clone(), origin.clone());
    app.background.spawn(async move {
        match write_mail(&later, &origin, &email, purpose).await {
            Ok(Some(mail)) => later.mailer.deliver(&mail).await,
            Ok(None) => {}
            Err(cause) => error!(%cause, request = %origin.request_id, "no mail was written"),
        }
    })?;
    Ok(MailOnItsWay::perhaps())
}

async fn write_mail(
    app: &App,
    origin: &Origin,
    email: &Email,
    purpose: EmailTokenPurpose,
) -> Result<Option<Mail>, StoreError> {
    let user = app.store.user_by_email(email).await?;
    let user = user.filter(|user| match purpose {
        EmailTokenPurpose::Verify => !user.email_verified() && !user.is_disabled(),
        EmailTokenPurpose::Reset => !user.is_disabled(),
    });
    let subject = user.as_ref().map(|user| user.id.to_string());
    let entry = Entry {
        tenant: None,
        actor: "anyone",
        action: match purpose {
            EmailTokenPurpose::Verify => "auth.verification_asked",
            EmailTokenPurpose::Reset => "auth.reset_asked",
        },
        subject: subject.as_deref(),
        detail: json!({ "address": origin.peer }),
        correlation: origin.request_id,
    };
    let mut change = app.store.begin().await?;
    change.insert_audit_event(app, &entry).await?;
    // The user's own address: the one asked for only folds to the same.
    let mail = match user.and_then(|user| Some((user.id, user.email()?))) {
        Some((user, address)) => {
            let token = MailedToken::new(app, purpose, user, &address);
            Some(token.keep(app, &mut change).await?)
        }
        None => None,
    };
    change.commit().await?;
    Ok(mail)
}

/// The hash of a token that came back.
pub(super) fn hash_of(text: &str) -> Result<[u8; 32], ApiError> {
    let token = OpaqueToken::parse(Purpose::Mail, text).ok_or(ApiError::InvalidToken)?;
    Ok(token.hash())
}

struct Words {
    subject: &'static str,
    purpose: &'static str,
    command: &'static str,
    route: &'static str,
}

const VERIFY: Words = Words {
    subject: "Verify your e-mail address",
    purpose: "show that this e-mail address is yours",
    command: "account verify",
    route: "/auth/email/verify",
};
const RESET: Words = Words {
    subject: "Choose your password",
    purpose: "choose the password of your Keyferry account",
    command: "password reset",
    route: "/auth/password/reset",
};
