//! Names in the form in which they are found whatever their case. The databases do not agree on the
//! case of letters beyond ASCII, so that the server folds them itself.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Store, StoreError, sql};

/// The folded form of a name.
pub(super) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// A table with a name and its folded form.
struct Folded {
    table: &'static str,
    name: &'static str,
    key: &'static str,
}

impl Store {
    /// Folds the names that a program stored which did not do so yet, and those that one changed
    /// since. Most that are right are known by the database's own idea of lower case.
    pub(crate) async fn fold_names(&self) -> Result<(), StoreError> {
        for folded in &FOLDED {
            let mut after = Uuid::nil();
            while let Some(last) = self.fold_some(folded, after).await? {
                after = last;
            }
        }
        Ok(())
    }

    /// Folds some rows after this one, and tells the last of them.
    async fn fold_some(&self, of: &Folded, after: Uuid) -> Result<Option<Uuid>, StoreError> {
        let Folded { table, name, key } = of;
        let find = format!(
            "SELECT id, {name} FROM {table} WHERE id > $1 AND {name} IS NOT NULL \
             AND ({key} IS NULL OR {key} <> lower({name})) ORDER BY id LIMIT $2"
        );
        let fold = format!(
            "UPDATE {table} SET {key} = $1 WHERE id = $2 AND {name} = $3 \
             AND ({key} IS NULL OR {key} <> $1)"
        );
        let find = AssertSqlSafe(find);
        let some: Vec<(Uuid, String)> = sql!(self, query_as(find, after, ROWS).fetch_all)?;
        let Some((last, _)) = some.last() else {
            return Ok(None);
        };
        let mut change = self.begin().await?;
        for (id, name) in &some {
            let fold = AssertSqlSafe(fold.clone());
            sql!(change, query(fold, folded(name), id, name).execute)?;
        }
        change.commit().await?;
        Ok(Some(*last))
    }
}

const FOLDED: [Folded; 2] = [
    Folded {
        table: "users",
        name: "full_name",
        key: "full_name_key",
    },
    Folded {
        table: "tenants",
        name: "name",
        key: "name_key",
    },
];
const ROWS: i64 = 500;

#[cfg(test)]
mod tests {
    use super::Store;
    use crate::store::{TenantId, UserId, sql};

    #[tokio::test]
    async fn names_of_an_older_program_are_folded() {
        const FORGET: [&str; 2] = [
            "UPDATE users SET full_name_key = NULL",
            "UPDATE tenants SET name_key = NULL",
        ];
        let server = crate::testing::server().await;
        server.user("ada").await;
        let store: &Store = &server.app.store;
        let name = "UPDATE users SET full_name = 'Ada ÜNAL'";
        let tenant = "UPDATE tenants SET name = 'ÜNAL & CO'";
        for sql in [name, tenant, FORGET[0], FORGET[1]] {
            sql!(store, query(sql).execute).unwrap();
        }
        let found = async || {
            let users = store.accounts(UserId::NOBODY, 9, "%ünal%").await.unwrap();
            let first = TenantId::from_bytes([0; 16]);
            let tenants = store.tenants(first, 9, "%ünal & c%").await.unwrap();
            (users.len(), tenants.len())
        };
        assert_eq!(found().await, (0, 0));
        store.fold_names().await.unwrap();
        assert_eq!(found().await, (1, 1));
        // It goes on beside this one, and knows nothing of the folded names.
        for sql in [
            "UPDATE users SET full_name = 'Eve ÖZ'",
            "UPDATE tenants SET name = 'EVE'",
        ] {
            sql!(store, query(sql).execute).unwrap();
        }
        assert_eq!(found().await, (1, 1));
        store.fold_names().await.unwrap();
        assert_eq!(found().await, (0, 0));
        let users = store.accounts(UserId::NOBODY, 9, "%öz%").await.unwrap();
        assert_eq!(users.len(), 1);
    }
}
