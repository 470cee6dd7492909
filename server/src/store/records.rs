//! Everything that is sealed under the master key, as one family of records.

use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::{Store, StoreError, Target, Transaction, in_time, on_database, sql};
use crate::traces;
use crate::vault::seal::Sealed;

/// What a sealed record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    KeyVersion,
    Ticket,
    Reattach,
    Totp,
    SigningKey,
    ServerKey,
    AuditKey,
}

/// A sealed record and what its context is made of; what a kind does not have is zero or empty.
#[derive(FromRow)]
pub(crate) struct Record {
    pub(crate) id: Uuid,
    pub(crate) tenant: Uuid,
    pub(crate) version: i64,
    pub(crate) purpose: String,
    #[sqlx(flatten)]
    pub(crate) sealed: Sealed,
}

/// A record that was opened and sealed again.
pub(crate) struct Resealed {
    pub(crate) before: Record,
    pub(crate) sealed: Sealed,
    /// That of a key's value, which depends on the master key.
    pub(crate) fingerprint: Option<String>,
}

impl RecordKind {
    pub(crate) const ALL: [Self; 7] = [
        Self::KeyVersion,
        Self::Ticket,
        Self::Reattach,
        Self::Totp,
        Self::SigningKey,
        Self::ServerKey,
        Self::AuditKey,
    ];

    /// What people call such records.
    pub(crate) const fn name(self) -> &'static str {
        self.table().name
    }

    const fn table(self) -> Table {
        match self {
            Self::KeyVersion => Table {
                id: "key_id",
                tenant: "tenant_id",
                version: "version",
                secret: "ciphertext",
                ..Table::of("key_versions")
            },
            Self::Ticket => Table::of("tickets"),
            Self::Reattach => Table::of("reattach_credentials"),
            Self::Totp => Table {
                id: "user_id",
                tenant: "user_id",
                ..Table::of("totp")
            },
            Self::SigningKey => Table::of("signing_keys"),
            Self::ServerKey => Table {
                purpose: "purpose",
                ..Table::of("server_keys")
            },
            Self::AuditKey => Table {
                secret: "ciphertext",
                ..Table::of("audit_keys")
            },
        }
    }
}

/// How a kind's table calls what all kinds have.
struct Table {
    name: &'static str,
    id: &'static str,
    tenant: &'static str,
    version: &'static str,
    purpose: &'static str,
    secret: &'static str,
}

impl Table {
    const fn of(name: &'static str) -> Self {
        Self {
            name,
            id: "id",
            tenant: "id",
            version: "CAST(0 AS BIGINT)",
            purpose: "''",
            secret: "secret",
        }
    }

    fn select(&self, condition: &str) -> AssertSqlSafe<String> {
        let Self {
            name,
            id,
            tenant,
            version,
            purpose,
            secret,
        } = self;
        AssertSqlSafe(format!(
            "SELECT {id} AS id, {tenant} AS tenant, {version} AS version, {purpose} AS purpose, \
             salt, {secret} AS ciphertext, master_key_id FROM {name} \
             WHERE length({secret}) > 0 AND {condition} LIMIT $2"
        ))
    }
}

impl Store {
    /// How many records there are of a kind that were not destroyed.
    pub(crate) async fn count_records(&self, kind: RecordKind) -> Result<u64, StoreError> {
        let Table { name, secret, .. } = kind.table();
        let sql = format!("SELECT COUNT(*) FROM {name} WHERE length({secret}) > 0");
        let count: i64 = sql!(self, query_scalar(AssertSqlSafe(sql)).fetch_one)?;
        Ok(count.unsigned_abs())
    }

    /// The next records of a kind after the given one, in the order of their ids. A key's versions
    /// come together.
    pub(crate) async fn records_after(
        &self,
        kind: RecordKind,
        after: Uuid,
    ) -> Result<Vec<Record>, StoreError> {
        let table = kind.table();
        let within = format!(
            "{id} IN (SELECT {id} FROM {name} WHERE {id} > $1 AND length({secret}) > 0 \
             ORDER BY {id} LIMIT {BATCH}) ORDER BY {id}, {version}",
            id = table.id,
            name = table.name,
            secret = table.secret,
            version = table.version,
        );
        sql!(
            self,
            query_as(table.select(&within), after, i64::MAX).fetch_all
        )
    }

    /// Some records of a kind that are sealed under this master key, in the order in which several
    /// are locked: by their ids.
    pub(crate) async fn records_under(
        &self,
        kind: RecordKind,
        master_key_id: &[u8],
    ) -> Result<Vec<Record>, StoreError> {
        let table = kind.table();
        let (id, version) = (table.id, table.version);
        let sql = table.select(&format!("master_key_id = $1 ORDER BY {id}, {version}"));
        sql!(self, query_as(sql, master_key_id, BATCH).fetch_all)
    }
}

impl Transaction {
    /// Puts the new seal in the place of the one before, unless somebody changed that meanwhile.
    pub(crate) async fn replace_seal(
        &mut self,
        kind: RecordKind,
        new: &Resealed,
    ) -> Result<(), StoreError> {
        let Table {
            name,
            id,
            version,
            secret,
            ..
        } = kind.table();
        let fingerprint = new
            .fingerprint
            .as_ref()
            .map_or("", |_| ", fingerprint = $7");
        let sql = AssertSqlSafe(format!(
            "UPDATE {name} SET salt = $1, {secret} = $2, master_key_id = $3{fingerprint} \
             WHERE {id} = $4 AND {version} = $5 AND salt = $6"
        ));
        let (sealed, before) = (&new.sealed, &new.before);
        let bound = self.bound();
        on_database!(self, |db| {
            let span = traces::statement(&sql);
            let query = sqlx::query(sql)
                .bind(&sealed.salt)
                .bind(&sealed.ciphertext)
                .bind(&sealed.master_key_id)
                .bind(before.id)
                .bind(before.version)
                .bind(&before.sealed.salt);
            let query = match &new.fingerprint {
                Some(fingerprint) => query.bind(fingerprint),
                None => query,
            };
            in_time(&bound, span, query.execute(db)).await.map(drop)
        })
    }

    /// How many records are sealed under this master key, and destroyed ones named after it
    /// are from now on named after the other.
    pub(crate) async fn count_records_under(
        &mut self,
        old: &[u8],
        new: &[u8],
    ) -> Result<u64, StoreError> {
        let mut under = 0;
        for kind in RecordKind::ALL {
            let Table { name, secret, .. } = kind.table();
            let rename = format!(
                "UPDATE {name} SET master_key_id = $2 \
                 WHERE master_key_id = $1 AND length({secret}) = 0"
            );
            let count = format!("SELECT COUNT(*) FROM {name} WHERE master_key_id = $1");
            sql!(self, query(AssertSqlSafe(rename), old, new).execute)?;
            let left: i64 = sql!(self, query_scalar(AssertSqlSafe(count), old).fetch_one)?;
            under += left.unsigned_abs();
        }
        Ok(under)
    }

    /// Lets nobody else seal anything before this transaction ends.
    pub(crate) async fn stop_sealing(&mut self) -> Result<(), StoreError> {
        // SQLite has one writer, and this transaction is it from its first change on.
        let bound = self.bound();
        if let Target::Postgres(open) = self.target() {
            let tables: Vec<&str> = RecordKind::ALL.map(RecordKind::name).to_vec();
            let sql = format!(
                "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
                tables.join(", ")
            );
            let sql = AssertSqlSafe(sql);
            let span = traces::statement(&sql);
            in_time(&bound, span, sqlx::query(sql).execute(open)).await?;
        }
        Ok(())
    }
}

/// So many records are sealed anew in one transaction.
const BATCH: i64 = 200;
