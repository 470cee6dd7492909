//! Databases of earlier schemas, with a row in every table, lose nothing on the way to this one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use keyferry_migrations::{POSTGRES, SQLITE};
use keyferry_tests::Database;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

#[tokio::test]
async fn no_row_of_sqlite_is_lost_or_changed() {
    for steps in earlier(&SQLITE) {
        let database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        bring_up_to_date(Open::Sqlite(database), steps).await;
    }
}

#[tokio::test]
async fn no_row_of_postgresql_is_lost_or_changed() {
    for steps in earlier(&POSTGRES) {
        let fresh = Database::create_empty().await;
        let database = PgConnection::connect(fresh.url()).await.unwrap();
        bring_up_to_date(Open::Postgres(database), steps).await;
    }
}

/// How many steps led to each schema since the first one whose data lasts.
fn earlier(all: &Migrator) -> std::ops::Range<usize> {
    let first = all.iter().position(|step| step.version == FIRST).unwrap();
    first + 1..all.iter().count()
}

async fn bring_up_to_date(mut database: Open, steps: usize) {
    database.migrate(steps).await;
    let tables = database.tables().await;
    assert!(tables.len() > 20, "only {} tables", tables.len());
    database.fill(&tables).await;
    let before = database.rows(&tables).await;
    database.migrate(usize::MAX).await;
    let after = database.rows(&tables).await;
    for (table, rows) in &before {
        assert!(!rows.is_empty(), "{table} has no row");
        assert!(
            rows.is_subset(&after[table]),
            "{table}, from step {steps}: {rows:?} became {:?}",
            after[table]
        );
    }
}

/// The columns of each table, with their types.
type Tables = BTreeMap<String, Vec<(String, String)>>;

/// A database of either engine.
enum Open {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Open {
    async fn migrate(&mut self, steps: usize) {
        let first =
            |all: &Migrator| Migrator::with_migrations(all.iter().take(steps).cloned().collect());
        match self {
            Self::Sqlite(database) => first(&SQLITE).run(database).await.unwrap(),
            Self::Postgres(database) => first(&POSTGRES).run(database).await.unwrap(),
        }
    }

    async fn tables(&mut self) -> Tables {
        let sql = match self {
            Self::Sqlite(_) => {
                "SELECT m.name || ' ' || c.name || ' ' || c.type FROM sqlite_schema AS m \
                 JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' \
                 AND m.name NOT LIKE '\\_%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'"
            }
            Self::Postgres(_) => {
                "SELECT c.table_name || ' ' || c.column_name || ' ' || c.data_type \
                 FROM information_schema.columns AS c \
                 JOIN information_schema.tables AS t USING (table_schema, table_name) \
                 WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' \
                 AND c.table_name NOT LIKE '\\_%'"
            }
        };
        let mut tables = Tables::new();
        for line in self.lines(sql).await {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let mut word = || words.next().unwrap();
            let (table, column) = (word(), (word(), word()));
            tables.entry(table).or_default().push(column);
        }
        tables
    }

    /// One row a table. Every id has the same value, so that each leads to the row that it means.
    async fn fill(&mut self, tables: &Tables) {
        let begin = match self {
            Self::Sqlite(_) => "PRAGMA foreign_keys = OFF",
            Self::Postgres(_) => "SET session_replication_role = replica",
        };
        self.run(begin).await.unwrap();
        // A row that is sealed under a retired master key is refused from then on.
        let (last, others): (Vec<_>, Vec<_>) = tables
            .keys()
            .partition(|table| *table == "retired_master_keys");
        for table in others.into_iter().chain(last) {
            self.insert(table, &tables[table]).await;
        }
        let end = match self {
            Self::Sqlite(_) => "PRAGMA foreign_keys = ON",
            Self::Postgres(_) => "SET session_replication_role = origin",
        };
        self.run(end).await.unwrap();
        if matches!(self, Self::Sqlite(_)) {
            let astray = "SELECT \"table\" || ' to ' || parent FROM pragma_foreign_key_check";
            assert_eq!(self.lines(astray).await, Vec::<String>::new());
        }
    }

    async fn insert(&mut self, table: &str, columns: &[(String, String)]) {
        let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let even = match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => "OVERRIDING SYSTEM VALUE",
        };
        let mut refused = None;
        for word in WORDS {
            let values: Vec<_> = columns.iter().map(|column| value(column, word)).collect();
            let (names, values) = (names.join(", "), values.join(", "));
            let sql = format!("INSERT INTO {table} ({names}) {even} VALUES ({values})");
            match self.run(&sql).await {
                Ok(()) => return,
                Err(cause) => refused = Some(cause),
            }
        }
        panic!("{table} takes no row of these: {refused:?}");
    }

    async fn rows(&mut self, tables: &Tables) -> BTreeMap<String, BTreeSet<String>> {
        let mut all = BTreeMap::new();
        for (table, columns) in tables {
            let cell = |(name, _): &(String, String)| match self {
                Self::Sqlite(_) => format!("quote({name})"),
                Self::Postgres(_) => format!("quote_nullable({name})"),
            };
            let cells: Vec<_> = columns.iter().map(cell).collect();
            let sql = format!("SELECT {} FROM {table}", cells.join(" || ', ' || "));
            let rows = self.lines(&sql).await;
            all.insert(table.clone(), rows.into_iter().collect());
        }
        all
    }

    async fn lines(&mut self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        let lines = match self {
            Self::Sqlite(database) => sqlx::query_scalar(sql).fetch_all(database).await,
            Self::Postgres(database) => sqlx::query_scalar(sql).fetch_all(database).await,
        };
        lines.unwrap()
    }

    async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(database) => database.execute(sql).await.map(drop),
            Self::Postgres(database) => database.execute(sql).await.map(drop),
        }
    }
}

fn value((name, kind): &(String, String), (status, purpose): (&str, &str)) -> String {
    match (kind.as_str(), name.as_str()) {
        ("INTEGER" | "bigint" | "integer" | "smallint", _) => "1".to_owned(),
        ("boolean", _) => "TRUE".to_owned(),
        ("BLOB", _) => format!("x'{ID}'"),
        ("bytea", _) => format!("'\\x{ID}'"),
        ("uuid", _) => format!("'{ID}'"),
        ("TEXT" | "text", "status" | "status_before") => format!("'{status}'"),
        ("TEXT" | "text", "purpose") => format!("'{purpose}'"),
        ("TEXT" | "text", "role") => "'owner'".to_owned(),
        ("TEXT" | "text", "told") => "'put'".to_owned(),
        ("TEXT" | "text", "kind") => "'user'".to_owned(),
        ("TEXT" | "text", "plan") => "'free'".to_owned(),
        ("TEXT" | "text", _) => "'a'".to_owned(),
        (other, _) => panic!("{name} is of type {other}"),
    }
}

const FIRST: i64 = 12;
const ID: &str = "01010101010141018101010101010101";
/// What a status and a purpose may be; each table takes one of these.
const WORDS: [(&str, &str); 4] = [
    ("active", "noise"),
    ("current", "noise"),
    ("pending", "verify"),
    ("active", "verify"),
];
