//! One store over two databases: each query is written once, in SQL that both understand.
//!
//! A function here never calls another one while it holds a transaction: SQLite has one connection.

mod account;
mod alerts;
mod audit;
mod audit_chain;
mod changes;
mod condition;
mod copy;
mod credentials;
mod deliverable_versions;
mod devices;
mod email_tokens;
mod enrolments;
mod epochs;
mod error;
mod fold_names;
mod grants;
mod held;
mod identities;
mod ids;
mod imports;
mod invitations;
mod keys;
mod login_failures;
mod many_rows;
mod master_keys;
mod mfa;
mod open;
mod operators;
mod own_role;
mod own_sessions;
mod passwords;
mod plans;
mod pooler;
mod records;
mod restored;
mod server_keys;
mod service_keys;
mod sessions;
mod settings;
mod signing_keys;
mod tenants;
mod trouble;
mod unfinished;
mod unix_time;
mod users;
mod vms;
mod way;

use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use sqlx::{PgConnection, PgPool, PgTransaction, SqliteConnection, SqlitePool, SqliteTransaction};
use tracing::{Instrument, Span};

use crate::traces;

pub(crate) use account::{AccountChange, OwnEvent};
pub(crate) use alerts::PendingAlert;
pub(crate) use audit::{AuditRecord, UsedKey};
pub(crate) use audit_chain::{Head, LinkedRecord};
pub(crate) use changes::{ChangeNote, StoredChange};
pub(crate) use condition::{Condition, Writes};
pub(crate) use copy::{Cell, Shape};
pub(crate) use credentials::{NewReattach, NewTicket, StoredCredential};
pub(crate) use deliverable_versions::DeliverableVersion;
pub(crate) use devices::{Acquaintance, NewDevice, StoredDevice};
pub(crate) use email_tokens::{EmailTokenPurpose, NewEmailToken};
pub(crate) use enrolments::{Decision, NewEnrolment, StoredEnrolment};
pub(crate) use epochs::Epochs;
pub(crate) use error::StoreError;
use fold_names::folded;
pub(crate) use grants::Grantee;
pub(crate) use held::{Held, HeldChange};
pub(crate) use identities::{NewIdentity, NewProviderSignIn, ReturnedSignIn, StoredIdentity};
pub(crate) use ids::{
    ChainId, DeviceId, EnrolmentId, IdentityId, InvitationId, ProviderKeyId, ServiceKeyId,
    SessionId, TenantId, TicketId, UserId, VmId, uuid_v7,
};
pub(crate) use imports::{EarlierRow, ImportedRow};
pub(crate) use invitations::{NewInvitation, StoredInvitation};
pub(crate) use keys::{NewKeyRow, NewVersionRow, StoredKey};
pub(crate) use login_failures::{EVERYWHERE, Failures, NewFailure};
pub(crate) use master_keys::StoredRotation;
use mfa::owes_factor;
pub(crate) use mfa::{NewMfaChallenge, NewTotp, TotpAttempts};
pub(crate) use open::{Schema, Step, open_postgres};
pub(crate) use operators::{Counts, StoredAccount, StoredTenant};
pub(crate) use own_sessions::{SessionPlace, StoredSession};
pub(crate) use passwords::PasswordChange;
pub(crate) use plans::StoredPlan;
pub(crate) use records::{Record, RecordKind, Resealed};
pub(crate) use restored::HeldBackRow;
pub(crate) use server_keys::NewServerKey;
pub(crate) use service_keys::{NewServiceKeyRow, OwnServiceKey, StoredServiceKey};
pub(crate) use sessions::{LiveSession, NewRefreshToken, NewSession, StoredRefreshToken};
pub(crate) use settings::INSTANCE;
pub(crate) use signing_keys::{NewSigningKey, StoredSigningKey};
pub(crate) use tenants::{StoredMember, StoredMembership};
pub(crate) use unix_time::UnixTime;
pub(crate) use users::{NewUser, StoredUser};
pub(crate) use vms::{Seen, StoredVm};
pub(crate) use way::Way;

/// The database, whichever it is.
#[derive(Clone)]
pub(crate) struct Store {
    pool: Pool,
    /// How long a statement may take.
    longest: Duration,
    /// How long statements took.
    took: Histogram,
    writes: Writes,
}

#[derive(Clone)]
enum Pool {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// A change of several rows that happens wholly or, when dropped, not at all.
pub(crate) struct Transaction {
    open: Target<PgTransaction<'static>, SqliteTransaction<'static>>,
    audit: audit::Unwritten,
    bound: Bound,
}

/// What holds for every statement of a store or a transaction.
#[derive(Clone)]
pub(crate) struct Bound {
    /// How long it may take; none for as long as it likes.
    longest: Option<Duration>,
    /// Hears how long it took.
    took: Histogram,
    /// Hears why it failed.
    writes: Writes,
}

/// What a statement runs on, for [`sql`]: a pool or a transaction of either engine.
pub(crate) enum Target<P, S> {
    Postgres(P),
    Sqlite(S),
}

/// Runs one portable statement on a [`Store`] or in a [`Transaction`], with its values in the order
/// of their places: `sql!(self, query_as(SQL, tenant, id).fetch_optional)`.
/// `query(..).execute` gives how many rows were changed.
macro_rules! sql {
    ($on:expr, query($sql:expr $(, $value:expr)* $(,)?).execute) => {
        {
            let bound = $on.bound();
            $crate::store::on_database!($on, |db| {
                let sql = $sql;
                let span = $crate::traces::statement(&sql);
                let statement = sqlx::query(sql)$(.bind($value))*;
                $crate::store::in_time(&bound, span, statement.execute(db))
                    .await
                    .map(|done| done.rows_affected())
            })
        }
    };
    // Where it is a constant `SQL`, a read of a store is repeated once on a fresh connection.
    ($on:expr, $query:ident(SQL $(, $value:expr)* $(,)?).$fetch:ident) => {{
        let bound = $on.bound();
        let mut tried = 0;
        loop {
            let answer = $crate::store::on_database!($on, |db| {
                let span = $crate::traces::statement(&SQL);
                let statement = sqlx::$query(SQL)$(.bind($value))*;
                $crate::store::in_time(&bound, span, statement.$fetch(db)).await
            });
            tried += 1;
            if tried > 1 || !$on.may_ask_again(SQL, &answer) {
                break answer;
            }
        }
    }};
    ($on:expr, $query:ident($sql:expr $(, $value:expr)* $(,)?).$fetch:ident) => {{
        let bound = $on.bound();
        $crate::store::on_database!($on, |db| {
            let sql = $sql;
            let span = $crate::traces::statement(&sql);
            let statement = sqlx::$query(sql)$(.bind($value))*;
            $crate::store::in_time(&bound, span, statement.$fetch(db)).await
        })
    }};
}
pub(crate) use sql;

/// A statement that hangs is a database that does not answer, even when it cannot say so.
pub(crate) async fn in_time<T>(
    bound: &Bound,
    span: Span,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    let late = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    let answer = async {
        match bound.longest {
            None => statement.await,
            Some(longest) => tokio::time::timeout(longest, statement)
                .await
                .map_err(late)?,
        }
    };
    let begin = Instant::now();
    let answer = answer.instrument(span).await;
    bound.took.observe(begin.elapsed().as_secs_f64());
    Ok(answer.inspect_err(|cause| bound.writes.failed(cause))?)
}

/// Runs the same code on whichever database is open.
macro_rules! on_database {
    ($on:expr, |$db:ident| $code:expr) => {
        match $on.target() {
            $crate::store::Target::Postgres($db) => $code,
            $crate::store::Target::Sqlite($db) => $code,
        }
    };
}
pub(crate) use on_database;

impl Store {
    /// Starts a transaction.
    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        // SQLite refuses to write after a read if another process has written in between; who has
        // the right to write from the start waits for its turn instead.
        self.begin_by("BEGIN IMMEDIATE", self.bound()).await
    }

    async fn begin_by(
        &self,
        sqlite: &'static str,
        bound: Bound,
    ) -> Result<Transaction, StoreError> {
        let span = traces::statement(&"BEGIN");
        let open = match &self.pool {
            Pool::Postgres(pool) => {
                Target::Postgres(in_time(&bound, span, unfinished::begin(pool.clone())).await?)
            }
            Pool::Sqlite(pool) => {
                Target::Sqlite(in_time(&bound, span, pool.begin_with(sqlite)).await?)
            }
        };
        Ok(Transaction {
            open,
            audit: audit::Unwritten::default(),
            bound,
        })
    }

    /// How many connections are open, how many of them idle, and how many there may be.
    pub(crate) fn connections(&self) -> (u64, u64, u64) {
        on_database!(self, |pool| (
            pool.size().into(),
            pool.num_idle() as u64,
            pool.options().get_max_connections().into(),
        ))
    }

    /// How long statements took, with their wait for a connection.
    pub(crate) fn durations(&self) -> Histogram {
        self.took.clone()
    }

    /// The engine's name, as `/database/status` tells it.
    pub(crate) fn engine(&self) -> &'static str {
        match self.pool {
            Pool::Postgres(_) => "postgresql",
            Pool::Sqlite(_) => "sqlite",
        }
    }

    /// Writes everything out and closes the connections.
    pub(crate) async fn close(&self) {
        on_database!(self, |pool| pool.close().await);
    }

    /// For [`sql`]: whether a read met a connection that was dead already, as after a restart of
    /// the database. The next one will be fresh.
    pub(crate) fn may_ask_again<T>(&self, sql: &str, answer: &Result<T, StoreError>) -> bool {
        let Err(StoreError::Unreachable(cause)) = answer else {
            return false;
        };
        let dead = match cause {
            sqlx::Error::Io(cause) => cause.kind() != std::io::ErrorKind::TimedOut,
            sqlx::Error::Database(told) => told.code().is_some_and(|code| code.starts_with("57P")),
            _ => false,
        };
        dead && sql.starts_with("SELECT")
    }

    /// For [`sql`].
    pub(crate) fn bound(&self) -> Bound {
        Bound {
            longest: Some(self.longest),
            took: self.took.clone(),
            writes: self.writes.clone(),
        }
    }

    /// For [`sql`].
    pub(crate) const fn target(&self) -> Target<&PgPool, &SqlitePool> {
        match &self.pool {
            Pool::Postgres(pool) => Target::Postgres(pool),
            Pool::Sqlite(pool) => Target::Sqlite(pool),
        }
    }
}

impl Transaction {
    /// For [`sql`]: what came before in the transaction is lost with its connection.
    #[expect(
        clippy::unused_self,
        reason = "`Store` has a function of the same form"
    )]
    pub(crate) const fn may_ask_again<T>(&self, _: &str, _: &Result<T, StoreError>) -> bool {
        false
    }

    /// For [`sql`].
    pub(crate) fn bound(&self) -> Bound {
        self.bound.clone()
    }

    /// For [`sql`].
    pub(crate) fn target(&mut self) -> Target<&mut PgConnection, &mut SqliteConnection> {
        match &mut self.open {
            Target::Postgres(open) => Target::Postgres(open),
            Target::Sqlite(open) => Target::Sqlite(open),
        }
    }

    /// Makes the change durable, with the events that tell of it.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        self.write_audit().await.map_err(|cause| match cause {
            StoreError::Unreachable(_) => cause,
            other => StoreError::Unaudited(other.into()),
        })?;
        let span = traces::statement(&"COMMIT");
        match self.open {
            Target::Postgres(open) => in_time(&self.bound, span, open.commit()).await?,
            Target::Sqlite(open) => in_time(&self.bound, span, open.commit()).await?,
        }
        self.bound.writes.succeeded();
        Ok(())
    }
}

/// PostgreSQL itself gives up two seconds earlier.
const LONGEST_STATEMENT: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests;
