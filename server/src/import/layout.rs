//! Which columns of another system's tables hold what.

use std::collections::BTreeMap;

/// What is wanted of a table, and how systems usually call it.
pub(crate) type Wanted = &'static [(&'static str, &'static [&'static str])];

/// The columns of a table by what they hold, as SQL that gives text.
pub(super) struct Layout {
    pub(super) table: String,
    columns: BTreeMap<&'static str, Used>,
}

struct Used {
    name: String,
    sql: String,
}

/// A column as the database describes it.
#[derive(sqlx::FromRow)]
pub(super) struct Column {
    pub(super) column_name: String,
    pub(super) data_type: String,
}

/// What a table does not have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("there is no table {0}; name it with --users-table and --keys-table")]
    NoTable(String),
    #[error(
        "the table {table} has no column for {wanted} (tried {tried}); \
         name it with --column {flag}.{wanted}=NAME"
    )]
    NoColumn {
        table: String,
        flag: &'static str,
        wanted: &'static str,
        tried: String,
    },
    #[error(
        "the table {table} has no column {named}, as --column {flag}.{field}={named} says; \
         it has {there}"
    )]
    NotThere {
        table: String,
        flag: &'static str,
        field: &'static str,
        named: String,
        there: String,
    },
    #[error("--column {0}: must be users.FIELD=COLUMN or keys.FIELD=COLUMN, FIELD one of {1}")]
    Flag(String, String),
}

impl Layout {
    /// Finds the columns, those that the operator named first.
    pub(super) fn find(
        (flag, table): (&'static str, &str),
        there: &[Column],
        wanted: Wanted,
        named: &BTreeMap<String, String>,
    ) -> Result<Self, LayoutError> {
        if there.is_empty() {
            return Err(LayoutError::NoTable(table.to_owned()));
        }
        let find = |name: &str| there.iter().find(|column| column.column_name == name);
        let mut columns = BTreeMap::new();
        for (field, usual) in wanted {
            let found = match named.get(*field) {
                // What would be known from another column is not guessed instead.
                Some(name) => Some(find(name).ok_or_else(|| LayoutError::NotThere {
                    table: table.to_owned(),
                    flag,
                    field,
                    named: name.clone(),
                    there: names(there),
                })?),
                None => usual.iter().find_map(|name| find(name)),
            };
            if let Some(column) = found {
                columns.insert(*field, Used::of(column));
            }
        }
        Ok(Self {
            table: quoted(table),
            columns,
        })
    }

    /// Whether any of these is there.
    pub(super) fn has_any(&self, fields: &[&str]) -> bool {
        fields.iter().any(|field| self.columns.contains_key(field))
    }

    /// SQL for a field; null where the table does not have it.
    pub(super) fn sql(&self, field: &str) -> &str {
        let used = self.columns.get(field);
        used.map_or("NULL::text", |used| used.sql.as_str())
    }

    /// Which column a field is in, if any.
    pub(super) fn column(&self, field: &str) -> Option<&str> {
        self.columns.get(field).map(|used| used.name.as_str())
    }
}

impl Used {
    fn of(column: &Column) -> Self {
        let name = quoted(&column.column_name);
        Self {
            name: column.column_name.clone(),
            sql: match column.data_type.as_str() {
                "bytea" => format!("convert_from({name}, 'UTF8')"),
                _ => format!("{name}::text"),
            },
        }
    }
}

fn names(columns: &[Column]) -> String {
    let names = columns.iter().map(|column| column.column_name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// An identifier, as SQL quotes it.
fn quoted(name: &str) -> String {
    let parts = name.split('.').map(|part| part.replace('"', "\"\""));
    let parts: Vec<String> = parts.map(|part| format!("\"{part}\"")).collect();
    parts.join(".")
}

/// What users are made of.
pub(crate) const USERS: Wanted = &[
    ("id", &["id", "user_id", "uid"]),
    ("username", &["username", "user_name", "login"]),
    ("email", &["email", "email_address", "mail"]),
    (
        "password_hash",
        &["password_hash", "hashed_password", "pw_hash", "password"],
    ),
    (
        "full_name",
        &["full_name", "fullname", "display_name", "name"],
    ),
    ("active", &["is_active", "active", "enabled"]),
    ("verified", &["email_verified", "is_verified", "verified"]),
];

/// What keys are made of.
pub(crate) const KEYS: Wanted = &[
    ("id", &["id", "key_id", "api_key_id"]),
    ("user", &["user_id", "owner_id", "account_id"]),
    ("name", &["name", "key_name", "label", "title"]),
    (
        "provider",
        &["provider", "service", "service_name", "vendor", "key_type"],
    ),
    (
        "token",
        &[
            "encrypted_key",
            "encrypted_value",
            "encrypted_api_key",
            "api_key_encrypted",
            "key_encrypted",
            "ciphertext",
        ],
    ),
    ("active", &["is_active", "active", "enabled"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn there(names: &[(&str, &str)]) -> Vec<Column> {
        let column = |(name, kind): &(&str, &str)| Column {
            column_name: (*name).to_owned(),
            data_type: (*kind).to_owned(),
        };
        names.iter().map(column).collect()
    }

    #[test]
    fn usual_names_are_found_and_named_ones_win() {
        let there = there(&[("id", "integer"), ("password", "text"), ("pw", "text")]);
        let plain = Layout::find(("users", "users"), &there, USERS, &BTreeMap::new()).unwrap();
        assert_eq!(plain.sql("password_hash"), "\"password\"::text");
        assert_eq!(plain.sql("email"), "NULL::text");
        let named = BTreeMap::from([("password_hash".to_owned(), "pw".to_owned())]);
        let named = Layout::find(("users", "users"), &there, USERS, &named).unwrap();
        assert_eq!(named.sql("password_hash"), "\"pw\"::text");
    }

    #[test]
    fn a_named_column_that_is_not_there_is_no_missing_one() {
        let there = there(&[("id", "integer"), ("is_active", "boolean")]);
        let named = BTreeMap::from([("active".to_owned(), "is_enabeld".to_owned())]);
        let refused = Layout::find(("users", "people"), &there, USERS, &named);
        let told = refused.err().unwrap().to_string();
        for part in ["users.active=is_enabeld", "people", "id, is_active"] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        let there = there(&[("id\"; DROP TABLE users; --", "bytea")]);
        let named = BTreeMap::from([("id".to_owned(), "id\"; DROP TABLE users; --".to_owned())]);
        let layout = Layout::find(("users", "public.users"), &there, USERS, &named).unwrap();
        assert_eq!(layout.table, "\"public\".\"users\"");
        assert_eq!(
            layout.sql("id"),
            "convert_from(\"id\"\"; DROP TABLE users; --\", 'UTF8')"
        );
    }
}
