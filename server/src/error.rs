//! Why a request is refused: one stable code for each reason, as docs/STATUS_CODES.md lists them.

use std::error::Error;

use schemars::JsonSchema;
use serde::Serialize;

use crate::accounts::HashError;
use crate::background::BackgroundFull;
use crate::limits::Exceeded;
use crate::store::StoreError;

/// A refusal. `Display` is the text for people; the cause is only ever logged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The HTTP head is ambiguous or broken.
    #[error("{0}")]
    MalformedRequest(&'static str),
    /// The body is not one JSON object.
    #[error("The body must be one JSON object.")]
    InvalidJson,
    /// Members of the request are wrong.
    #[error("The request has a wrong or missing member.")]
    Invalid(Vec<FieldError>),
    /// The password policy refuses the password.
    #[error("The password is not acceptable.")]
    WeakPassword(Vec<FieldError>),
    /// The username or e-mail is taken.
    #[error("This {0} is already registered.")]
    AlreadyRegistered(&'static str),
    /// A sealed value does not open.
    #[error("The sealed value does not open for this user, name and version.")]
    InvalidSealed,
    /// The agent route was called without an upgrade.
    #[error("This route is a WebSocket with the subprotocol keyferry.v1.")]
    UpgradeRequired,
    /// Nobody has decided yet.
    #[error("Nobody has approved this code yet; ask again.")]
    AuthorizationPending,
    /// The agent asks too often.
    #[error("Ask less often.")]
    SlowDown,
    /// A person said no, or has withdrawn the approval.
    #[error("The request was denied.")]
    EnrolmentDenied,
    /// Ten minutes are over.
    #[error("The code has expired; ask for a new one.")]
    EnrolmentEnded,
    /// Somebody was faster.
    #[error("This code has been decided already.")]
    AlreadyDecided,
    /// A mailed token is of no use.
    #[error("The token is unknown, has expired or was used before.")]
    InvalidToken,
    /// A code is no second factor of the user.
    #[error("The code is wrong or was used before.")]
    InvalidCode,
    /// The login that owed a second factor is over.
    #[error("Sign in again: the second step came too late or was tried too often.")]
    InvalidMfaToken,
    /// A sign-in at a provider did not come back where it began, or not in time.
    #[error("This sign-in is over or began elsewhere; start again.")]
    InvalidSignIn,
    /// The provider said no.
    #[error("The provider did not sign you in.")]
    ProviderRefused,
    /// The provider vouches for no e-mail address.
    #[error("The provider tells no verified e-mail address of yours.")]
    ProviderEmail,
    /// An account has the address, which it has not verified.
    #[error("An account has this address. Sign in to it, verify the address, and try again.")]
    AccountExists,
    /// The provider does not answer, or not as it should.
    #[error("The provider does not answer as it should; try again later.")]
    ProviderFailed(#[source] Box<dyn Error + Send + Sync>),
    /// The account waits for its e-mail address to be verified.
    #[error("Verify your e-mail address first, by the token in your mail.")]
    EmailUnverified,
    /// No valid token.
    #[error("Sign in first: the token is missing, unknown or has ended.")]
    Unauthenticated,
    /// Login failed.
    #[error("The username, e-mail or password is wrong.")]
    InvalidCredentials,
    /// The refresh token is of no use.
    #[error("The refresh token is unknown, ended or was used before.")]
    InvalidRefreshToken,
    /// The tenant demands a second factor that the caller does not have.
    #[error("Set up a second factor first: POST /auth/mfa/totp/start, or `keyferry mfa start`.")]
    SecondFactorOwed,
    /// The operator does not offer this.
    #[error("The operator of this server has switched this off.")]
    SwitchedOff,
    /// The caller lacks a permission.
    #[error("Your role does not permit this.")]
    Forbidden,
    /// The operator wants clients to show a certificate.
    #[error("Connect with a client certificate of this server's authority.")]
    CertificateMissing,
    /// No such route or thing.
    #[error("There is nothing of this name or id here, or it belongs to another tenant.")]
    NotFound,
    /// The path is known, with other methods: these.
    #[error("This path does not know this method.")]
    MethodNotAllowed(String),
    /// The body stalled.
    #[error("The body came too slowly.")]
    RequestTimeout,
    /// The name is taken.
    #[error("Something of this name exists already: choose another one, or change what is there.")]
    AlreadyExists,
    /// Sealed for another version.
    #[error("The value was sealed for a version that is not the next one.")]
    VersionConflict,
    /// A revoked key was to be changed.
    #[error("The key is revoked.")]
    KeyRevoked,
    /// A VM that was cut off was to be enrolled.
    #[error("The VM is cut off; set it active first.")]
    VmCutOff,
    /// The last owner was to leave or to become less.
    #[error("A tenant keeps at least one owner.")]
    LastOwner,
    /// The last admin who can sign in was to be closed.
    #[error("The server keeps at least one admin who can sign in.")]
    LastAdmin,
    /// A role that somebody has was to be deleted.
    #[error("Members or invitations still have this role.")]
    RoleInUse,
    /// There are as many of these as anyone may have.
    #[error("There are as many of these as there may be; take one away first.")]
    TooMany,
    /// The tenant's plan allows no more of these.
    #[error(
        "The tenant's plan allows no more of these (GET /auth/me tells its limits): take one away, or ask an admin of the server for another plan."
    )]
    PlanLimit,
    /// An account without an address was to be mailed to.
    #[error("The account has no e-mail address to write to.")]
    NoEmail,
    /// An admin was to close the account that they act with.
    #[error("This is your own account; another admin can close it.")]
    OwnAccount,
    /// The body is over the limit.
    #[error("The body is too large.")]
    BodyTooLarge,
    /// The body is not JSON.
    #[error("Send Content-Type: application/json.")]
    UnsupportedMediaType,
    /// The head is over the limit.
    #[error("The request head is too large.")]
    HeadTooLarge,
    /// A request by cookie without the token that only our pages know.
    #[error("Send the X-CSRF-Token that came with the session.")]
    ForeignPage,
    /// A budget is used up.
    #[error("{0}")]
    RateLimited(Exceeded),
    /// The request is for a name that is not this server's.
    #[error("This server does not answer under that name.")]
    UnknownHost,
    /// Too many passwords to hash, or handshakes under way.
    #[error("The server is busy; try again shortly.")]
    Overloaded,
    /// The database or the audit log cannot be reached.
    #[error("The server cannot do this at the moment.")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// A fault of the server.
    #[error("The server failed; its log has the reason under this request's id.")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

/// One member of a request and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct FieldError {
    /// The member's name.
    pub(crate) field: String,
    /// What is wrong, for people.
    pub(crate) detail: String,
}

impl FieldError {
    pub(crate) fn new(field: &str, detail: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            detail: detail.into(),
        }
    }
}

impl ApiError {
    /// One wrong member.
    pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, detail)])
    }

    /// A fault of the server with its cause.
    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// The stable code, for programs.
    pub(crate) const fn code(&self) -> &'static str {
        self.answer().1
    }

    /// The status of the answer.
    pub(crate) const fn status(&self) -> u16 {
        self.answer().0
    }

    /// Status and code, as docs/STATUS_CODES.md lists them.
    const fn answer(&self) -> (u16, &'static str) {
        match self {
            Self::MalformedRequest(_) => (400, "malformed_request"),
            Self::InvalidJson => (400, "invalid_json"),
            Self::Invalid(_) => (400, "invalid_input"),
            Self::WeakPassword(_) => (400, "weak_password"),
            Self::AlreadyRegistered(_) => (400, "already_registered"),
            Self::InvalidSealed => (400, "invalid_sealed"),
            Self::UpgradeRequired => (400, "upgrade_required"),
            Self::AuthorizationPending => (400, "authorization_pending"),
            Self::SlowDown => (400, "slow_down"),
            Self::EnrolmentDenied => (400, "access_denied"),
            Self::EnrolmentEnded => (400, "expired_token"),
            Self::InvalidToken => (400, "invalid_token"),
            Self::InvalidSignIn => (400, "invalid_sign_in"),
            Self::InvalidCode => (401, "invalid_code"),
            Self::InvalidMfaToken => (401, "invalid_mfa_token"),
            Self::Unauthenticated => (401, "unauthenticated"),
            Self::InvalidCredentials => (401, "invalid_credentials"),
            Self::InvalidRefreshToken => (401, "invalid_refresh_token"),
            Self::ProviderRefused => (403, "provider_refused"),
            Self::ProviderEmail => (403, "provider_email_unverified"),
            Self::EmailUnverified => (403, "email_unverified"),
            Self::Forbidden => (403, "forbidden"),
            Self::SecondFactorOwed => (403, "second_factor_owed"),
            Self::SwitchedOff => (403, "switched_off"),
            Self::ForeignPage => (403, "csrf_token_missing"),
            Self::CertificateMissing => (403, "client_certificate_missing"),
            Self::NotFound => (404, "not_found"),
            Self::MethodNotAllowed(_) => (405, "method_not_allowed"),
            Self::RequestTimeout => (408, "request_timeout"),
            Self::AccountExists => (409, "account_exists"),
            Self::AlreadyExists => (409, "already_exists"),
            Self::AlreadyDecided => (409, "already_decided"),
            Self::VersionConflict => (409, "version_conflict"),
            Self::KeyRevoked => (409, "key_revoked"),
            Self::VmCutOff => (409, "vm_cut_off"),
            Self::LastAdmin => (409, "last_admin"),
            Self::LastOwner => (409, "last_owner"),
            Self::RoleInUse => (409, "role_in_use"),
            Self::PlanLimit => (409, "plan_limit"),
            Self::TooMany => (409, "too_many"),
            Self::NoEmail => (409, "no_email"),
            Self::OwnAccount => (409, "own_account"),
            Self::BodyTooLarge => (413, "body_too_large"),
            Self::UnsupportedMediaType => (415, "unsupported_media_type"),
            Self::UnknownHost => (421, "unknown_host"),
            Self::RateLimited(_) => (429, "rate_limited"),
            Self::HeadTooLarge => (431, "head_too_large"),
            Self::Internal(_) => (500, "internal"),
            Self::ProviderFailed(_) => (502, "provider_failed"),
            Self::Overloaded => (503, "overloaded"),
            Self::Unavailable(_) => (503, "unavailable"),
        }
    }

    /// The members at fault.
    pub(crate) fn fields(&self) -> Vec<FieldError> {
        match self {
            Self::Invalid(fields) | Self::WeakPassword(fields) => fields.clone(),
            Self::AlreadyRegistered(field) => vec![FieldError::new(field, "is taken")],
            _ => Vec::new(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(cause: StoreError) -> Self {
        match cause {
            StoreError::Exists(_) => Self::AlreadyExists,
            cause if cause.may_pass() => Self::Unavailable(cause.into()),
            _ => Self::Internal(cause.into()),
        }
    }
}

impl From<BackgroundFull> for ApiError {
    fn from(_: BackgroundFull) -> Self {
        Self::Overloaded
    }
}

impl From<HashError> for ApiError {
    fn from(cause: HashError) -> Self {
        match cause {
            HashError::Full => Self::Overloaded,
            HashError::Failed(_) => Self::internal(cause),
        }
    }
}
