//! Which columns of another system's tables hold what.

use std::collections::BTreeMap;

use super::state::STATES;

/// What is wanted of a table, and how systems usually call it.
pub(crate) type Wanted = &'static [(&'static str, &'static [&'static str])];

/// A kind of table: what the flags call it, what its rows are made of, and what none can lack, each
/// time any of these.
pub(crate) struct Plan {
    pub(crate) flag: &'static str,
    pub(super) fields: Wanted,
    pub(super) needed: &'static [&'static [&'static str]],
}

/// The columns of a table by what they hold.
pub(super) struct Layout {
    pub(super) table: String,
    columns: Vec<Used>,
}

/// A column that is read, as SQL that gives bytes.
pub(super) struct Used {
    pub(super) field: &'static str,
    pub(super) name: String,
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

impl Plan {
    /// All that can be named, and how systems usually call it.
    pub(crate) fn wanted(
        &self,
    ) -> impl Iterator<Item = &'static (&'static str, &'static [&'static str])> {
        self.fields.iter().chain(STATES)
    }
}

impl Layout {
    /// Finds the columns, those that the operator named first.
    pub(super) fn find(
        (plan, table): (&Plan, &str),
        there: &[Column],
        named: &BTreeMap<String, String>,
    ) -> Result<Self, LayoutError> {
        if there.is_empty() {
            return Err(LayoutError::NoTable(table.to_owned()));
        }
        let find = |name: &str| there.iter().find(|column| column.column_name == name);
        let mut columns = Vec::new();
        for (field, usual) in plan.wanted() {
            let found = match named.get(*field).map(String::as_str) {
                Some("") => Vec::new(),
                // What would be known from another column is not guessed instead.
                Some(name) => vec![find(name).ok_or_else(|| LayoutError::NotThere {
                    table: table.to_owned(),
                    flag: plan.flag,
                    field,
                    named: name.to_owned(),
                    there: names(there),
                })?],
                None => usual.iter().filter_map(|name| find(name)).collect(),
            };
            let most = if is_state(field) { usize::MAX } else { 1 };
            // A column that was named as something else tells nothing of the state.
            let is_taken = |column: &&Column| {
                is_state(field)
                    && !named.contains_key(*field)
                    && named.values().any(|name| *name == column.column_name)
            };
            let found = found.into_iter().filter(|column| !is_taken(column));
            columns.extend(found.take(most).map(|column| Used::of(field, column)));
        }
        let table = quoted(table);
        Self { table, columns }.complete(plan)
    }

    fn complete(self, plan: &Plan) -> Result<Self, LayoutError> {
        for any in plan.needed {
            let [first, ..] = any else { continue };
            if any.iter().any(|field| !self.names(field).is_empty()) {
                continue;
            }
            let tried = plan.fields.iter().find(|(field, _)| field == first);
            return Err(LayoutError::NoColumn {
                table: self.table,
                flag: plan.flag,
                wanted: first,
                tried: tried.map_or(String::new(), |(_, usual)| usual.join(", ")),
            });
        }
        Ok(self)
    }

    /// The columns in the order in which they are selected.
    pub(super) fn columns(&self) -> &[Used] {
        &self.columns
    }

    /// Selects every row, ordered by these fields.
    pub(super) fn select(&self, order: &[&str]) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|used| used.sql.as_str()).collect();
        let place = |field: &&str| self.columns.iter().position(|used| used.field == *field);
        let order = order.iter().filter_map(place);
        let order: Vec<String> = order.map(|place| (place + 1).to_string()).collect();
        format!(
            "SELECT {} FROM {} ORDER BY {}",
            columns.join(", "),
            self.table,
            order.join(", ")
        )
    }

    /// Which columns a field is in, if any.
    pub(super) fn names(&self, field: &str) -> Vec<&str> {
        let used = self.columns.iter().filter(|used| used.field == field);
        used.map(|used| used.name.as_str()).collect()
    }
}

impl Used {
    fn of(field: &'static str, column: &Column) -> Self {
        let name = quoted(&column.column_name);
        let kind = column.data_type.as_str();
        let text = match (field, Kind::of(kind)) {
            ("disabled" | "revoked" | "deleted", Kind::Time) => format!("({name} IS NOT NULL)"),
            ("disabled" | "revoked" | "deleted", Kind::Number) => format!("({name} <> 0)"),
            ("expires_at", Kind::Time) => format!(
                "(CASE WHEN {name} IS NULL OR {name} = 'infinity' THEN NULL WHEN {name} = '-infinity' THEN 0 \
                 ELSE {} END)::bigint",
                bounded(&format!("extract(epoch FROM {name})::numeric * 1000000"))
            ),
            // Seconds, or milliseconds.
            ("expires_at", Kind::Number) => format!(
                "(CASE WHEN {name} IS NOT NULL THEN {} END)::bigint",
                bounded(&format!(
                    "{name}::numeric * CASE WHEN {name} < 100000000000 THEN 1000000 ELSE 1000 END"
                ))
            ),
            _ => name.clone(),
        };
        Self {
            field,
            name: column.column_name.clone(),
            sql: match kind {
                // May be no text at all, which is found out row by row.
                "bytea" => name,
                _ => format!("convert_to({text}::text, 'UTF8')"),
            },
        }
    }
}

/// What a column's type makes of a state.
enum Kind {
    Time,
    Number,
    Other,
}

impl Kind {
    fn of(data_type: &str) -> Self {
        match data_type {
            "date" => Self::Time,
            time if time.starts_with("timestamp") => Self::Time,
            "smallint" | "integer" | "bigint" => Self::Number,
            _ => Self::Other,
        }
    }
}

/// Microseconds since 1970 that a `bigint` holds, whatever the column does.
fn bounded(sql: &str) -> String {
    format!("trunc(greatest(0, least(9000000000000000, {sql})))")
}

fn is_state(field: &str) -> bool {
    STATES.iter().any(|(state, _)| *state == field)
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
pub(crate) const USERS: Plan = Plan {
    flag: "users",
    fields: &[
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
        ("verified", &["email_verified", "is_verified", "verified"]),
    ],
    needed: &[&["id"], &["username", "email"], &["password_hash"]],
};

/// What keys are made of.
pub(crate) const KEYS: Plan = Plan {
    flag: "keys",
    fields: &[
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
    ],
    needed: &[&["id"], &["user"], &["token"], &["name", "provider"]],
};

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

    fn found(columns: &[(&str, &str)], named: &[(&str, &str)]) -> Result<Layout, LayoutError> {
        let whole = [
            columns,
            &[("id", "integer"), ("login", "text"), ("password", "text")],
        ];
        let named = named.iter();
        let named = named.map(|(field, name)| ((*field).to_owned(), (*name).to_owned()));
        Layout::find(
            (&USERS, "people"),
            &there(&whole.concat()),
            &named.collect(),
        )
    }

    #[test]
    fn usual_names_are_found_and_named_ones_win() {
        let plain = found(&[("pw", "text")], &[]).unwrap();
        assert_eq!(plain.names("password_hash"), ["password"]);
        assert!(plain.names("email").is_empty());
        let named = found(&[("pw", "text")], &[("password_hash", "pw")]).unwrap();
        assert_eq!(named.names("password_hash"), ["pw"]);
    }

    #[test]
    fn every_column_that_tells_of_the_state_is_read_unless_it_is_named_away() {
        let states = [
            ("is_active", "boolean"),
            ("enabled", "boolean"),
            ("status", "text"),
            ("revoked_at", "timestamp with time zone"),
        ];
        let all = found(&states, &[]).unwrap();
        assert_eq!(all.names("active"), ["is_active", "enabled"]);
        assert_eq!(all.names("revoked"), ["revoked_at"]);
        let named = found(&states, &[("active", "status"), ("revoked", "")]).unwrap();
        assert_eq!(named.names("active"), ["status"]);
        for field in ["status", "revoked"] {
            assert!(named.names(field).is_empty(), "{field}");
        }
    }

    #[test]
    fn a_named_column_that_is_not_there_is_no_missing_one() {
        let refused = found(&[("is_active", "boolean")], &[("active", "is_enabeld")]);
        let told = refused.err().unwrap().to_string();
        for part in ["users.active=is_enabeld", "people", "is_active, id"] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        let odd = "id\"; DROP TABLE users; --";
        let layout = found(&[(odd, "bytea")], &[("id", odd)]).unwrap();
        let select = layout.select(&["id"]);
        let quoted = "SELECT \"id\"\"; DROP TABLE users; --\", convert_to(\"login\"::text, 'UTF8')";
        assert!(select.starts_with(quoted), "{select}");
        assert!(select.ends_with(" FROM \"people\" ORDER BY 1"), "{select}");
        assert_eq!(super::quoted("public.users"), "\"public\".\"users\"");
    }
}
