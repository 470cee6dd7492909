//! Accounts of the other system.

use std::collections::HashSet;

use serde_json::json;

use super::source::ForeignUser;
use super::{Import, ImportError, Outcome, Owner, Run};
use crate::accounts::{Email, Username};
use crate::audit::Entry;
use crate::store::{ImportedRow, NewUser, TenantId, UserId};

impl Import<'_> {
    /// Takes one user with a tenant of their own; who owns the user's keys from now on. `named` are
    /// those of this run.
    pub(super) async fn user(
        &self,
        user: &ForeignUser,
        named: &mut HashSet<String>,
    ) -> Result<(Outcome, Option<Owner>), ImportError> {
        let store = &self.app.store;
        let known = store.imported_row(&self.called, USER, &user.id).await?;
        if let Some(id) = known {
            let owner = store
                .user_by_id(UserId::from_bytes(id.into_bytes()))
                .await?;
            let owner = owner.map(|owner| Owner {
                user: owner.id,
                tenant: owner.tenant_id,
            });
            return Ok((Outcome::Known, owner));
        }
        let new = match self.new_user(user) {
            Ok(new) => new,
            Err(reason) => return Ok((Outcome::LeftOut(reason), None)),
        };
        if let Some(taken) = self.taken(&new, named).await? {
            return Ok((Outcome::LeftOut(taken), None));
        }
        if self.run == Run::Real {
            self.insert(user, &new).await?;
        }
        named.extend(new.username.as_ref().map(Username::key));
        named.extend(new.email.as_ref().map(Email::key));
        let owner = Owner {
            user: new.id,
            tenant: new.tenant_id,
        };
        Ok((Outcome::Imported, Some(owner)))
    }

    fn new_user(&self, user: &ForeignUser) -> Result<NewUser, String> {
        let hash = user.password_hash.as_deref().unwrap_or_default();
        if !is_bcrypt(hash) {
            return Err("its password hash is not bcrypt ($2a$, $2b$ or $2y$)".to_owned());
        }
        let username = user
            .username
            .as_deref()
            .and_then(|text| Username::chosen(text).ok());
        let email = user
            .email
            .as_deref()
            .and_then(|text| text.parse::<Email>().ok());
        let called = username.as_ref().map(Username::text);
        let called = called.or(email.as_ref().map(Email::text));
        let Some(called) = called.map(ToOwned::to_owned) else {
            return Err("it has no usable username and no usable e-mail address".to_owned());
        };
        let full_name = user.full_name.as_deref().map(str::trim);
        let full_name = full_name.filter(|name| {
            !name.is_empty() && name.chars().count() <= 100 && !name.chars().any(char::is_control)
        });
        let now = self.app.clock.now();
        let mut rng = self.app.rng();
        Ok(NewUser {
            id: UserId::new(now, &mut rng),
            tenant_id: TenantId::new(now, &mut rng),
            tenant_name: called,
            email_verified: email.is_some() && user.is_verified(),
            username,
            email,
            full_name: full_name.map(ToOwned::to_owned),
            password_hash: hash.to_owned(),
            server_admin: false,
            pending: false,
            created_at: now,
        })
    }

    /// Somebody else who has the name already. They may not be the same person, so that neither
    /// the account nor its keys are merged.
    async fn taken(
        &self,
        new: &NewUser,
        named: &HashSet<String>,
    ) -> Result<Option<String>, ImportError> {
        let store = &self.app.store;
        if let Some(username) = &new.username
            && (named.contains(&username.key())
                || store.user_by_username(username).await?.is_some())
        {
            return Ok(Some(format!(
                "there is another account {}",
                username.text()
            )));
        }
        if let Some(email) = &new.email
            && (named.contains(&email.key()) || store.user_by_email(email).await?.is_some())
        {
            return Ok(Some(format!("there is another account {}", email.text())));
        }
        Ok(None)
    }

    async fn insert(&self, user: &ForeignUser, new: &NewUser) -> Result<(), ImportError> {
        let mut change = self.app.store.begin().await?;
        change.insert_user(new).await?;
        if !user.is_active() {
            change.close_user(new.id).await?;
        }
        let row = ImportedRow {
            source: &self.called,
            kind: USER,
            foreign_id: &user.id,
            local_id: new.id.bytes(),
        };
        change.insert_imported_row(&row, new.created_at).await?;
        let entry = Entry {
            tenant: Some(new.tenant_id),
            actor: "operator",
            action: "operator.user_imported",
            subject: Some(&new.id.to_string()),
            detail: json!({ "source": self.called, "id": user.id }),
            correlation: self.correlation,
        };
        change.insert_audit_event(self.app, &entry).await?;
        Ok(change.commit().await?)
    }
}

/// A hash that bcrypt can check; others would look like a wrong password for ever.
fn is_bcrypt(hash: &str) -> bool {
    let known = ["$2a$", "$2b$", "$2y$"];
    known.iter().any(|prefix| hash.starts_with(prefix))
        && hash.len() == 60
        && hash
            .get(4..6)
            .and_then(|cost| cost.parse::<u8>().ok())
            .is_some_and(|cost| (4..=20).contains(&cost))
        && hash.get(6..7) == Some("$")
        && hash
            .bytes()
            .skip(7)
            .all(|letter| letter.is_ascii_alphanumeric() || b"./".contains(&letter))
}

const USER: &str = "user";
