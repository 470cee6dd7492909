//! Accounts of the other system.

use std::collections::HashSet;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;

use super::report::Differences;
use super::rows::ForeignUser;
use super::state::{Standing, shown};
use super::{Import, ImportError, Kind, Outcome, Owner, Run, faults};
use crate::accounts::{Email, Username};
use crate::audit::Entry;
use crate::error::ApiError;
use crate::store::{EarlierRow, ImportedRow, NewUser, TenantId, UserId};

/// What an account may be called here, and what of it is called otherwise there.
struct Names {
    username: Option<Username>,
    email: Option<Email>,
    full_name: Option<String>,
    changed: Vec<String>,
}

impl Import<'_> {
    /// Takes one user with a tenant of their own; who owns the user's keys from now on. `named` are
    /// those of this run.
    pub(super) async fn user(
        &self,
        user: &ForeignUser,
        named: &mut HashSet<String>,
    ) -> Result<(Outcome, Option<Owner>), ImportError> {
        let names = Names::of(user)?;
        if let Some(row) = self.earlier(Kind::User, &user.id).await? {
            return self.known(user, &names, &row).await;
        }
        let closed = match Standing::of(&user.told, self.app.clock.now()) {
            Standing::InUse { .. } => None,
            Standing::Closed(reason) => Some(reason),
            Standing::Deleted(reason) | Standing::Unclear(reason) => {
                return Ok((Outcome::LeftOut(reason), None));
            }
        };
        let changed = names.changed.clone();
        let new = match self.new_user(user, names) {
            Ok(new) => new,
            Err(reason) => return Ok((Outcome::LeftOut(reason), None)),
        };
        if let Some(taken) = self.taken(&new, named).await? {
            return Ok((Outcome::LeftOut(taken), None));
        }
        let differences = Differences { closed, changed };
        if self.run == Run::Real {
            self.insert(user, &new, &differences).await?;
        }
        named.extend(new.username.as_ref().map(Username::key));
        named.extend(new.email.as_ref().map(Email::key));
        let owner = Owner {
            user: new.id,
            tenant: new.tenant_id,
        };
        Ok((Outcome::Imported(differences), Some(owner)))
    }

    /// Somebody who came with an earlier import, if it is the same person: in another database, or
    /// in one that was made anew, the same id is somebody else's.
    async fn known(
        &self,
        user: &ForeignUser,
        names: &Names,
        row: &EarlierRow,
    ) -> Result<(Outcome, Option<Owner>), ImportError> {
        let id = UserId::from_bytes(row.local_id.into_bytes());
        let account = self.app.store.user_by_id(id).await?;
        let owner = account.as_ref().map(|account| Owner {
            user: account.id,
            tenant: account.tenant_id,
        });
        let profile = account.map(|account| account.into_profile());
        let is_same = match (&row.names_hash, &profile) {
            (Some(hash), _) if *hash == names_hash(user) => true,
            (_, Some(profile)) => {
                let folded = |name: &Option<String>| name.as_ref().map(|name| name.to_lowercase());
                folded(&profile.username) == names.username.as_ref().map(Username::key)
                    && folded(&profile.email) == names.email.as_ref().map(Email::key)
            }
            (Some(_), None) => false,
            (None, None) => true,
        };
        if is_same {
            return Ok((Outcome::Known, owner));
        }
        let account = profile.and_then(|profile| profile.username.or(profile.email));
        let account = account.map_or(String::new(), |name| format!(" and became {name}"));
        let reason = format!(
            "one of this id came with an earlier import{account}, under another username or \
             e-mail address: give another system a name of its own with --called"
        );
        Ok((Outcome::LeftOut(reason), None))
    }

    fn new_user(&self, user: &ForeignUser, names: Names) -> Result<NewUser, String> {
        let hash = user.password_hash.as_deref().unwrap_or_default();
        if !is_bcrypt(hash) {
            return Err("its password hash is not bcrypt ($2a$, $2b$ or $2y$)".to_owned());
        }
        let called = names.username.as_ref().map(Username::text);
        let called = called.or(names.email.as_ref().map(Email::text));
        let Some(called) = called.map(ToOwned::to_owned) else {
            let mut reason = "it has no usable username and no usable e-mail address".to_owned();
            for changed in names.changed {
                reason.push_str("; ");
                reason.push_str(&changed);
            }
            return Err(reason);
        };
        let now = self.app.clock.now();
        let mut rng = self.app.rng();
        Ok(NewUser {
            id: UserId::new(now, &mut rng),
            tenant_id: TenantId::new(now, &mut rng),
            tenant_name: called,
            email_verified: names.email.is_some() && user.verified,
            username: names.username,
            email: names.email,
            full_name: names.full_name,
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

    async fn insert(
        &self,
        user: &ForeignUser,
        new: &NewUser,
        differences: &Differences,
    ) -> Result<(), ImportError> {
        let mut change = self.app.store.begin().await?;
        change.insert_user(new).await?;
        if differences.closed.is_some() {
            change.close_user(new.id).await?;
        }
        let row = ImportedRow {
            source: &self.called,
            kind: Kind::User.name(),
            foreign_id: &user.id,
            local_id: new.id.bytes(),
            names_hash: Some(names_hash(user)),
        };
        change.insert_imported_row(&row, new.created_at).await?;
        let entry = Entry {
            tenant: Some(new.tenant_id),
            actor: "operator",
            action: "operator.user_imported",
            subject: Some(&new.id.to_string()),
            detail: json!({
                "source": self.called,
                "id": user.id,
                "closed": differences.closed.is_some(),
            }),
            correlation: self.correlation,
        };
        change.insert_audit_event(self.app, &entry).await?;
        Ok(change.commit().await?)
    }
}

impl Names {
    fn of(user: &ForeignUser) -> Result<Self, ImportError> {
        let mut changed = Vec::new();
        let username = usable("username", &user.username, Username::chosen, &mut changed)?;
        let email = usable("e-mail address", &user.email, Email::from_str, &mut changed)?;
        let full_name = usable("full name", &user.full_name, full_name, &mut changed)?;
        Ok(Self {
            username,
            email,
            full_name,
            changed,
        })
    }
}

/// A name that can be taken over; of another one it is told that it was left away.
fn usable<T>(
    what: &str,
    given: &Option<String>,
    parse: impl Fn(&str) -> Result<T, ApiError>,
    changed: &mut Vec<String>,
) -> Result<Option<T>, ApiError> {
    let given = given.as_deref().map(str::trim);
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Ok(None);
    };
    match parse(given) {
        Ok(name) => Ok(Some(name)),
        Err(refused) => {
            let given = shown(Some(given));
            let why = faults(refused)?;
            changed.push(format!("the {what} {given} is left away: a {what} {why}"));
            Ok(None)
        }
    }
}

fn full_name(text: &str) -> Result<String, ApiError> {
    let fits = text.chars().count() <= 100 && !text.chars().any(char::is_control);
    let refused = || ApiError::invalid("full_name", "has at most 100 letters");
    fits.then(|| text.to_owned()).ok_or_else(refused)
}

/// Tells whether two rows call somebody alike.
fn names_hash(user: &ForeignUser) -> Vec<u8> {
    let folded = |name: &Option<String>| name.as_deref().unwrap_or_default().trim().to_lowercase();
    let names = format!("{}\0{}", folded(&user.username), folded(&user.email));
    digest(&SHA256, names.as_bytes()).as_ref().to_vec()
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
