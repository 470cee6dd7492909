//! Names in the form in which they are found whatever their case. The databases do not agree on the
//! case of letters beyond ASCII, so that the server folds them itself.

use super::{Store, StoreError, TenantId, UserId, sql};

/// The folded form of a name.
pub(super) fn folded(name: &str) -> String {
    name.to_lowercase()
}

impl Store {
    /// Folds the names that a program stored which did not do so yet.
    pub(super) async fn fold_names(&self) -> Result<(), StoreError> {
        while self.fold_some_users().await? || self.fold_some_tenants().await? {}
        Ok(())
    }

    async fn fold_some_users(&self) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT id, full_name FROM users \
            WHERE full_name IS NOT NULL AND full_name_key IS NULL LIMIT $1";
        const FOLD: &str = "UPDATE users SET full_name_key = $1 WHERE id = $2 AND full_name = $3";
        let some: Vec<(UserId, String)> = sql!(self, query_as(SQL, ROWS).fetch_all)?;
        let mut change = self.begin().await?;
        for (user, name) in &some {
            sql!(change, query(FOLD, folded(name), user, name).execute)?;
        }
        change.commit().await?;
        Ok(!some.is_empty())
    }

    async fn fold_some_tenants(&self) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT id, name FROM tenants WHERE name_key IS NULL LIMIT $1";
        const FOLD: &str = "UPDATE tenants SET name_key = $1 WHERE id = $2 AND name = $3";
        let some: Vec<(TenantId, String)> = sql!(self, query_as(SQL, ROWS).fetch_all)?;
        let mut change = self.begin().await?;
        for (tenant, name) in &some {
            sql!(change, query(FOLD, folded(name), tenant, name).execute)?;
        }
        change.commit().await?;
        Ok(!some.is_empty())
    }
}

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
    }
}
