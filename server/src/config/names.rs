//! What the settings are called.

pub(crate) const DATA_DIR: &str = "KEYFERRY_DATA_DIR";
pub(crate) const LISTEN: &str = "KEYFERRY_LISTEN";
pub(crate) const PLAIN_HTTP: &str = "KEYFERRY_PLAIN_HTTP";
pub(super) const HOST: &str = "HOST";
pub(super) const PORT: &str = "PORT";
pub(crate) const PUBLIC_URL: &str = "KEYFERRY_PUBLIC_URL";
pub(super) const DATABASE_URL: &str = "DATABASE_URL";
pub(super) const ENCRYPTION_KEY: &str = "ENCRYPTION_KEY";
pub(super) const MASTER_ENCRYPTION_KEY: &str = "MASTER_ENCRYPTION_KEY";
pub(super) const JWT_ALGORITHM: &str = "JWT_ALGORITHM";
pub(super) const JWT_SECRET_KEY: &str = "JWT_SECRET_KEY";
pub(super) const ACCESS_MINUTES: &str = "AUTH_ACCESS_TOKEN_EXPIRE_MINUTES";
pub(super) const REFRESH_DAYS: &str = "AUTH_REFRESH_TOKEN_EXPIRE_DAYS";
pub(super) const HASH_ROUNDS: &str = "AUTH_PASSWORD_HASH_ROUNDS";
pub(super) const PASSWORD_MIN_LENGTH: &str = "AUTH_PASSWORD_MIN_LENGTH";
pub(super) const PASSWORD_MIN_SCORE: &str = "AUTH_PASSWORD_MIN_SCORE";
pub(super) const MAX_FAILED_ATTEMPTS: &str = "AUTH_MAX_FAILED_ATTEMPTS";
pub(super) const MAX_ACCOUNT_FAILURES: &str = "AUTH_MAX_ACCOUNT_FAILURES";
pub(super) const LOCKOUT_MINUTES: &str = "AUTH_LOCKOUT_DURATION_MINUTES";
pub(super) const REFRESHES_PER_HOUR: &str = "AUTH_REFRESHES_PER_HOUR";
pub(super) const REGISTRATIONS_PER_HOUR: &str = "AUTH_REGISTRATIONS_PER_HOUR";
pub(super) const ENROLMENTS_PER_HOUR: &str = "KEYFERRY_ENROLMENTS_PER_HOUR";
pub(super) const MAILS_PER_HOUR: &str = "AUTH_MAILS_PER_HOUR";
pub(super) const COOKIE_NAME: &str = "AUTH_SESSION_COOKIE_NAME";
pub(super) const COOKIE_SECURE: &str = "AUTH_SESSION_COOKIE_SECURE";
pub(super) const COOKIE_SAME_SITE: &str = "AUTH_SESSION_COOKIE_SAMESITE";
pub(super) const SESSION_BINDING: &str = "AUTH_SESSION_BINDING";
pub(super) const TRUSTED_PROXIES: &str = "KEYFERRY_TRUSTED_PROXIES";
pub(super) const ALLOWED_HOSTS: &str = "KEYFERRY_ALLOWED_HOSTS";
pub(super) const ALLOWED_ORIGINS: &str = "ALLOWED_ORIGINS";
pub(super) const PASSWORD_HISTORY: &str = "AUTH_PASSWORD_HISTORY";
pub(super) const EMAIL_VERIFICATION: &str = "AUTH_ENABLE_EMAIL_VERIFICATION";
pub(super) const VERIFICATION_HOURS: &str = "AUTH_EMAIL_VERIFICATION_EXPIRE_HOURS";
pub(super) const RESET_MINUTES: &str = "AUTH_PASSWORD_RESET_EXPIRE_MINUTES";
pub(super) const MAIL_FROM: &str = "MAIL_FROM";
pub(super) const SMTP_HOST: &str = "SMTP_HOST";
pub(super) const SMTP_PORT: &str = "SMTP_PORT";
pub(super) const SMTP_TLS: &str = "SMTP_TLS";
pub(super) const SMTP_CA_FILE: &str = "SMTP_CA_FILE";
pub(super) const SMTP_USERNAME: &str = "SMTP_USERNAME";
pub(super) const SMTP_PASSWORD: &str = "SMTP_PASSWORD";
pub(super) const MAX_CONNECTIONS: &str = "KEYFERRY_MAX_CONNECTIONS";
pub(super) const MAX_PER_ADDRESS: &str = "KEYFERRY_MAX_CONNECTIONS_PER_ADDRESS";
pub(super) const TLS_SECONDS: &str = "KEYFERRY_TLS_HANDSHAKE_SECONDS";
pub(super) const FIRST_BYTE_SECONDS: &str = "KEYFERRY_FIRST_BYTE_SECONDS";
pub(super) const HEAD_SECONDS: &str = "KEYFERRY_HEAD_SECONDS";
pub(super) const BODY_SECONDS: &str = "KEYFERRY_BODY_SECONDS";

/// Every setting there is, by its environment name. In a TOML file the same name in lower case.
pub(super) const SETTINGS: &[&str] = &[
    DATA_DIR,
    LISTEN,
    PLAIN_HTTP,
    HOST,
    PORT,
    PUBLIC_URL,
    DATABASE_URL,
    ENCRYPTION_KEY,
    MASTER_ENCRYPTION_KEY,
    JWT_ALGORITHM,
    JWT_SECRET_KEY,
    ACCESS_MINUTES,
    REFRESH_DAYS,
    HASH_ROUNDS,
    PASSWORD_MIN_LENGTH,
    PASSWORD_MIN_SCORE,
    MAX_FAILED_ATTEMPTS,
    MAX_ACCOUNT_FAILURES,
    LOCKOUT_MINUTES,
    REFRESHES_PER_HOUR,
    REGISTRATIONS_PER_HOUR,
    MAILS_PER_HOUR,
    ENROLMENTS_PER_HOUR,
    COOKIE_NAME,
    COOKIE_SECURE,
    COOKIE_SAME_SITE,
    SESSION_BINDING,
    TRUSTED_PROXIES,
    ALLOWED_HOSTS,
    ALLOWED_ORIGINS,
    PASSWORD_HISTORY,
    EMAIL_VERIFICATION,
    VERIFICATION_HOURS,
    RESET_MINUTES,
    MAIL_FROM,
    SMTP_HOST,
    SMTP_PORT,
    SMTP_TLS,
    SMTP_CA_FILE,
    SMTP_USERNAME,
    SMTP_PASSWORD,
    MAX_CONNECTIONS,
    MAX_PER_ADDRESS,
    TLS_SECONDS,
    FIRST_BYTE_SECONDS,
    HEAD_SECONDS,
    BODY_SECONDS,
];
