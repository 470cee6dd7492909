//! The database schema, once for each engine: same files, same tables, same columns.

use sqlx::migrate::Migrator;

/// Brings a SQLite database to the newest schema.
pub static SQLITE: Migrator = sqlx::migrate!("./sqlite");

/// Brings a PostgreSQL database to the newest schema.
pub static POSTGRES: Migrator = sqlx::migrate!("./postgres");

#[cfg(test)]
mod tests {
    use super::{POSTGRES, SQLITE};

    #[test]
    fn both_engines_have_the_same_migrations() {
        let names = |migrator: &sqlx::migrate::Migrator| -> Vec<(i64, String)> {
            migrator
                .iter()
                .map(|one| (one.version, one.description.to_string()))
                .collect()
        };
        assert_eq!(names(&SQLITE), names(&POSTGRES));
        assert!(SQLITE.iter().next().is_some());
    }
}
