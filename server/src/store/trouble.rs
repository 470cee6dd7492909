//! What the databases say when they cannot serve, by their codes, and not when a statement is wrong.

use sqlx::error::DatabaseError;

/// Why a database does not do what it usually does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It has no room.
    Full,
    /// It takes no writes.
    ReadOnly,
    /// Its disk or its file fails.
    Failing,
    /// Its role has not the right.
    Forbidden,
    /// It stops, starts, is busy, or gave the transaction up.
    Passing,
}

impl Trouble {
    pub(super) fn of(told: &dyn DatabaseError) -> Option<Self> {
        Self::by_code(&told.code()?)
    }

    /// PostgreSQL has five characters, SQLite a number of at most four digits.
    fn by_code(code: &str) -> Option<Self> {
        if code.len() == 5 {
            return Self::by_sqlstate(code);
        }
        let code: u32 = code.parse().ok()?;
        match (code, code & 0xff) {
            // SQLITE_FULL, and what SQLite makes of a disk that refuses a write.
            (13 | 778 | 4874, _) => Some(Self::Full),
            // SQLITE_BUSY: another process writes for longer than we wait.
            (_, 5) => Some(Self::Passing),
            // SQLITE_READONLY.
            (_, 8) => Some(Self::ReadOnly),
            // SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_CANTOPEN, SQLITE_NOTADB.
            (_, 10 | 11 | 14 | 26) => Some(Self::Failing),
            _ => None,
        }
    }

    /// Of the classes: 08 connection, 53 resources, 57P shutdown, 58 the system's I/O, XX corruption.
    /// Of the codes: a statement that took too long, an idle transaction, a deadlock.
    fn by_sqlstate(code: &str) -> Option<Self> {
        match code {
            "53100" => Some(Self::Full),
            "25006" => Some(Self::ReadOnly),
            "58030" | "XX001" | "XX002" => Some(Self::Failing),
            "42501" => Some(Self::Forbidden),
            "57014" | "25P03" | "40P01" => Some(Self::Passing),
            _ => ["08", "53", "57P"]
                .iter()
                .any(|class| code.starts_with(class))
                .then_some(Self::Passing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Trouble;

    #[test]
    fn what_is_wrong_is_told_by_the_codes_of_either_engine() {
        for (code, trouble) in [
            ("13", Some(Trouble::Full)),
            ("53100", Some(Trouble::Full)),
            ("8", Some(Trouble::ReadOnly)),
            ("1032", Some(Trouble::ReadOnly)),
            ("25006", Some(Trouble::ReadOnly)),
            ("10", Some(Trouble::Failing)),
            ("266", Some(Trouble::Failing)),
            ("11", Some(Trouble::Failing)),
            ("14", Some(Trouble::Failing)),
            ("58030", Some(Trouble::Failing)),
            ("XX001", Some(Trouble::Failing)),
            ("517", Some(Trouble::Passing)),
            ("08006", Some(Trouble::Passing)),
            ("57P01", Some(Trouble::Passing)),
            ("40P01", Some(Trouble::Passing)),
            ("1", None),
            ("1555", None),
            ("23505", None),
            ("42501", Some(Trouble::Forbidden)),
            ("42601", None),
        ] {
            assert_eq!(Trouble::by_code(code), trouble, "{code}");
        }
    }
}
