//! Keys of the other system.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use keyferry_protocol::ids::KeyName;
use serde_json::json;

use super::report::Report;
use super::source::ForeignKey;
use super::{Import, ImportError, Outcome, Owner, Run};
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::store::{ImportedRow, NewKeyRow, NewVersionRow, ProviderKeyId, TenantId, Transaction};
use crate::vault::{self, Adopted, MOST_KEYS, Provider};

/// The names that the keys of one tenant have.
struct Names {
    tenant: TenantId,
    /// How many of them are not revoked.
    active: i64,
    taken: HashSet<String>,
}

impl Import<'_> {
    /// Takes every key of the users who were taken.
    pub(super) async fn keys(
        &self,
        owners: &HashMap<String, Owner>,
        report: &mut Report,
        progress: impl Fn(),
    ) -> Result<(), ImportError> {
        let mut keys = self.source.keys();
        let mut names: Option<Names> = None;
        let mut open: Option<Open> = None;
        while let Some(key) = keys.try_next().await? {
            progress();
            let owner = key.user.as_ref().and_then(|user| owners.get(user));
            let Some(owner) = owner else {
                let reason = "its user was not imported".to_owned();
                report.note_key(&key.id, Outcome::LeftOut(reason));
                continue;
            };
            if names
                .as_ref()
                .is_none_or(|names| names.tenant != owner.tenant)
            {
                Open::close(self, &mut open).await?;
                let taken = self.app.store.key_names(owner.tenant).await?;
                names = Some(Names {
                    tenant: owner.tenant,
                    active: self.app.store.active_keys(owner.tenant).await?,
                    taken: taken.into_iter().collect(),
                });
            }
            if open.as_ref().is_some_and(|open| open.keys >= BATCH) {
                Open::close(self, &mut open).await?;
            }
            let names = names.as_mut().expect("just looked up");
            let outcome = self.key(&key, *owner, (names, &mut open)).await?;
            report.note_key(&key.id, outcome);
        }
        Open::close(self, &mut open).await
    }

    async fn key(
        &self,
        key: &ForeignKey,
        owner: Owner,
        (names, open): (&mut Names, &mut Option<Open>),
    ) -> Result<Outcome, ImportError> {
        if !key.is_active() {
            return Ok(Outcome::LeftOut("it is not active".to_owned()));
        }
        let token = key.token.as_deref().unwrap_or_default();
        let plain = match self.fernet.open(token, &self.app.arena) {
            Ok(plain) => plain,
            Err(cause) => return Ok(Outcome::LeftOut(cause.to_string())),
        };
        let name = names.free(key);
        let adopted = Adopted {
            id: ProviderKeyId::new(self.app.clock.now(), &mut self.app.rng()),
            tenant: owner.tenant,
            user: owner.user,
            name: &name,
            provider: provider(key),
            policy: &self.policy,
            plain,
        };
        let (row, version) = match vault::adopt(self.app, adopted) {
            Ok(rows) => rows,
            Err(ApiError::Invalid(faults)) => {
                let faults: Vec<String> = faults.into_iter().map(|fault| fault.detail).collect();
                return Ok(Outcome::LeftOut(format!("its value {}", faults.join(", "))));
            }
            Err(other) => return Err(other.into()),
        };
        let outcome = match self.run {
            Run::Dry => self.foresee(key, names).await?,
            Run::Real => self.insert_key(open, key, (&row, &version)).await?,
        };
        if matches!(outcome, Outcome::Imported) {
            names.active += 1;
            names.taken.insert(name.to_string());
        }
        Ok(outcome)
    }

    /// What would come of the key.
    async fn foresee(&self, key: &ForeignKey, names: &Names) -> Result<Outcome, ImportError> {
        let known = self.app.store.imported_row(&self.called, KEY, &key.id);
        Ok(match known.await? {
            Some(_) => Outcome::Known,
            None if names.active >= MOST_KEYS => Outcome::LeftOut(FULL.to_owned()),
            None => Outcome::Imported,
        })
    }

    async fn insert_key(
        &self,
        open: &mut Option<Open>,
        key: &ForeignKey,
        (row, version): (&NewKeyRow, &NewVersionRow),
    ) -> Result<Outcome, ImportError> {
        let change = Open::or_begin(self, open, row.tenant).await?;
        let imported = ImportedRow {
            source: &self.called,
            kind: KEY,
            foreign_id: &key.id,
            local_id: row.id.bytes(),
        };
        if !change
            .insert_imported_row(&imported, row.created_at)
            .await?
        {
            return Ok(Outcome::Known);
        }
        match vault::hold_a_place(change, row.tenant).await {
            Err(ApiError::TooMany) => {
                change.delete_imported_row(&imported).await?;
                return Ok(Outcome::LeftOut(FULL.to_owned()));
            }
            held => held?,
        }
        change.insert_key(row).await?;
        change.insert_version(version).await?;
        let entry = Entry {
            tenant: Some(row.tenant),
            actor: "operator",
            action: "key.imported",
            subject: Some(&row.name),
            detail: json!({ "source": self.called, "id": key.id, "provider": row.provider }),
            correlation: self.correlation,
        };
        change.insert_audit_event(self.app, &entry).await?;
        Ok(Outcome::Imported)
    }
}

/// A transaction with some keys in it.
struct Open {
    change: Transaction,
    tenant: TenantId,
    keys: usize,
}

impl Open {
    async fn or_begin<'a>(
        import: &Import<'_>,
        open: &'a mut Option<Self>,
        tenant: TenantId,
    ) -> Result<&'a mut Transaction, ImportError> {
        if open.is_none() {
            *open = Some(Self {
                change: import.app.store.begin().await?,
                tenant,
                keys: 0,
            });
        }
        let open = open.as_mut().expect("just begun");
        open.keys += 1;
        Ok(&mut open.change)
    }

    async fn close(import: &Import<'_>, open: &mut Option<Self>) -> Result<(), ImportError> {
        if let Some(open) = open.take() {
            let tenant = open.tenant;
            let changed = [Event::KeysChanged { tenant }];
            bus::commit(import.app, open.change, &changed).await?;
        }
        Ok(())
    }
}

impl Names {
    /// The key's own name made fit, with a number when it is taken.
    fn free(&self, key: &ForeignKey) -> KeyName {
        let given = [&key.name, &key.provider].into_iter().flatten();
        let given = given.map(|name| fit(name)).find(|name| !name.is_empty());
        let base = given.unwrap_or_else(|| "key".to_owned());
        let numbered = (2_u32..).map(|number| format!("{base}-{number}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        let free = names.find(|name| !self.taken.contains(name));
        let free = free.expect("there are more numbers than keys");
        free.parse()
            .expect("only letters that a key name may have are left")
    }
}

fn fit(name: &str) -> String {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let letters = name.trim().chars().take(LONGEST_NAME);
    letters
        .map(|letter| if allowed(letter) { letter } else { '-' })
        .collect()
}

fn provider(key: &ForeignKey) -> Provider {
    let told = [&key.provider, &key.name].into_iter().flatten();
    let told: Vec<String> = told.map(|text| text.to_lowercase()).collect();
    let says = |words: &[&str]| {
        told.iter()
            .any(|text| words.iter().any(|word| text.contains(word)))
    };
    if says(&["openai"]) {
        Provider::Openai
    } else if says(&["anthropic", "claude"]) {
        Provider::Anthropic
    } else if says(&["google", "gemini"]) {
        Provider::Google
    } else if says(&["groq"]) {
        Provider::Groq
    } else {
        Provider::Custom
    }
}

const KEY: &str = "key";
const FULL: &str = "its owner has as many keys as a tenant may have";
const BATCH: usize = 200;
/// Leaves room for a number.
const LONGEST_NAME: usize = 52;
