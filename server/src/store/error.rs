//! What a database answers instead of rows.

use super::pooler;
use super::trouble::Trouble;

/// What the database answered instead of rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A unique column already holds this value.
    #[error("the row exists already")]
    Exists(#[source] sqlx::Error),
    /// The row that this one refers to is gone.
    #[error("the row refers to one that does not exist")]
    Dangling(#[source] sqlx::Error),
    /// The database does not answer.
    #[error("the database is not reachable")]
    Unreachable(#[source] sqlx::Error),
    /// A file that `DATABASE_URL` names.
    #[error("DATABASE_URL says {setting}, which cannot be read")]
    Unreadable {
        /// What it says.
        setting: String,
        #[source]
        cause: std::io::Error,
    },
    /// What answers there does not prove that it is the database.
    #[error(
        "the certificate that the database shows is refused: in DATABASE_URL, `sslrootcert` names a \
         file with the authority that signed it, and the host is one of its names"
    )]
    Untrusted(#[source] sqlx::Error),
    /// A statement failed.
    #[error("the database refused a statement")]
    Statement(#[source] sqlx::Error),
    /// A right that this role was not given.
    #[error(
        "the database's role has no right to this: the owner of the schema grants what servers \
         need by `keyferry-server migrate --grant-to ROLE`"
    )]
    Forbidden(#[source] sqlx::Error),
    /// The schema is to be made or changed by a role that does not own it.
    #[error(
        "the schema is not what this keyferry-server needs, and is not {0}'s to change: run \
         `keyferry-server migrate --grant-to {0}` with the DATABASE_URL of its owner"
    )]
    ForeignSchema(String),
    /// The database has no room left.
    #[error("the database's disk is full")]
    Full(#[source] sqlx::Error),
    /// The audit could not be written, so nothing was.
    #[error("the audit cannot be written")]
    Unaudited(#[source] Box<Self>),
    /// The schema could not be brought up to date.
    #[error("the database schema could not be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Somebody between us and the database shares its connections out.
    #[error(
        "between this server and the database is a pooler that {0}. Give the address of PostgreSQL \
         itself; or have PgBouncer give out sessions (pool_mode = session, \
         ignore_startup_parameters = extra_float_digits,options) and give the server's role its \
         bounds in PostgreSQL: ALTER ROLE ... SET statement_timeout = '10s', and SET \
         idle_in_transaction_session_timeout = '30s'"
    )]
    Pooled(&'static str),
    /// The database belongs to a newer program.
    #[error(
        "the database has schema version {0}, which this keyferry-server does not know: \
         it was used by a newer one. Install that, or restore a backup from before the upgrade"
    )]
    NewerSchema(i64),
}

impl StoreError {
    /// Whether it may go by itself, or when somebody makes room.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::Untrusted(_) | Self::Full(_) | Self::Unaudited(_)
        )
    }

    /// Whether the value that exists already belongs to this column, which a unique index is
    /// named after.
    pub(crate) fn is_of(&self, column: &str) -> bool {
        matches!(self, Self::Exists(sqlx::Error::Database(told)) if told.message().contains(column))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(cause: sqlx::Error) -> Self {
        match &cause {
            sqlx::Error::Database(told) if told.is_unique_violation() => Self::Exists(cause),
            sqlx::Error::Database(told) if told.is_foreign_key_violation() => Self::Dangling(cause),
            sqlx::Error::Database(told) if pooler::has_spoken(told.as_ref()) => {
                Self::Pooled("does not take what a connection begins with")
            }
            sqlx::Error::Database(told) => match Trouble::of(told.as_ref()) {
                Some(Trouble::Full) => Self::Full(cause),
                Some(Trouble::Forbidden) => Self::Forbidden(cause),
                Some(Trouble::ReadOnly | Trouble::Failing | Trouble::Passing) => {
                    Self::Unreachable(cause)
                }
                None => Self::Statement(cause),
            },
            sqlx::Error::Io(told) if is_of_certificate(told) => Self::Untrusted(cause),
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
                Self::Unreachable(cause)
            }
            _ => Self::Statement(cause),
        }
    }
}

fn is_of_certificate(cause: &std::io::Error) -> bool {
    let cause = cause.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}
