//! Keys of the other system.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use keyferry_protocol::ids::KeyName;
use serde_json::json;

use super::report::{Differences, Report};
use super::rows::ForeignKey;
use super::state::{Standing, shown};
use super::{Import, ImportError, Kind, Outcome, Owner, Run, faults};
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::store::{
    ImportedRow, NewKeyRow, NewVersionRow, ProviderKeyId, TenantId, Transaction, UserId,
};
use crate::vault::policy::Policy;
use crate::vault::{self, Adopted, MOST_KEYS, Provider};

/// The keys that came with earlier imports, by their id there, and whose they are where it is known.
type Earlier = HashMap<String, Option<UserId>>;

/// How far the keys are taken.
struct Taking<'a> {
    owners: &'a HashMap<String, Owner>,
    earlier: Earlier,
    names: Option<Names>,
    open: Option<Open>,
}

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
        let mut taking = Taking {
            owners,
            earlier: self.earlier_keys().await?,
            names: None,
            open: None,
        };
        let mut keys = self.source.keys();
        while let Some(key) = keys.try_next().await? {
            progress();
            let (id, outcome) = match key {
                Ok(key) => {
                    let outcome = self.key(&key, &mut taking).await?;
                    (key.id, outcome)
                }
                Err(row) => (row.id, Outcome::LeftOut(row.reason)),
            };
            report.note(Kind::Key, &id, outcome);
        }
        Open::close(self, &mut taking.open).await
    }

    /// Read at once: an embedded database answers nobody else while keys are being stored.
    async fn earlier_keys(&self) -> Result<Earlier, ImportError> {
        let mut earlier = Earlier::new();
        for called in [self.called_before.as_ref(), Some(&self.called)] {
            let Some(called) = called else { continue };
            earlier.extend(self.app.store.imported_keys(called).await?);
        }
        Ok(earlier)
    }

    async fn key(&self, key: &ForeignKey, taking: &mut Taking<'_>) -> Result<Outcome, ImportError> {
        let left_out = |reason: &str| Ok(Outcome::LeftOut(reason.to_owned()));
        let owner = key.user.as_ref().and_then(|user| taking.owners.get(user));
        let Some(owner) = owner.copied() else {
            return left_out("its user was not imported");
        };
        let expires_at = match Standing::of(&key.told, self.app.clock.now()) {
            Standing::InUse { until } => until,
            Standing::Closed(reason) | Standing::Deleted(reason) | Standing::Unclear(reason) => {
                return left_out(&reason);
            }
        };
        match taking.earlier.get(&key.id) {
            None => {}
            Some(Some(maker)) if *maker != owner.user => return left_out(OTHERS),
            Some(_) => return Ok(Outcome::Known),
        }
        self.turn_to(owner.tenant, taking).await?;
        let names = taking.names.as_mut().expect("they were just looked up");
        let policy = Policy {
            expires_at,
            ..self.policy.clone()
        };
        self.take(key, (owner, &policy), (names, &mut taking.open))
            .await
    }

    /// Looks up the tenant's names, and closes what is not to grow any more.
    async fn turn_to(&self, tenant: TenantId, taking: &mut Taking<'_>) -> Result<(), ImportError> {
        let is_other = taking
            .names
            .as_ref()
            .is_none_or(|names| names.tenant != tenant);
        if is_other || taking.open.as_ref().is_some_and(|open| open.keys >= BATCH) {
            Open::close(self, &mut taking.open).await?;
        }
        if is_other {
            let taken = self.app.store.key_names(tenant).await?;
            taking.names = Some(Names {
                tenant,
                active: self.app.store.active_keys(tenant).await?,
                taken: taken.into_iter().collect(),
            });
        }
        Ok(())
    }

    async fn take(
        &self,
        key: &ForeignKey,
        (owner, policy): (Owner, &Policy),
        (names, open): (&mut Names, &mut Option<Open>),
    ) -> Result<Outcome, ImportError> {
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
            policy,
            plain,
        };
        let (row, version) = match vault::adopt(self.app, adopted) {
            Ok(rows) => rows,
            Err(refused) => return Ok(Outcome::LeftOut(format!("its value {}", faults(refused)?))),
        };
        let instead = match self.run {
            Run::Dry => (names.active >= MOST_KEYS).then(|| Outcome::LeftOut(FULL.to_owned())),
            Run::Real => self.insert_key(open, key, (&row, &version)).await?,
        };
        if let Some(outcome) = instead {
            return Ok(outcome);
        }
        names.active += 1;
        names.taken.insert(name.to_string());
        Ok(Outcome::Imported(Differences {
            changed: renamed(key, &name).into_iter().collect(),
            ..Differences::default()
        }))
    }

    /// Stores the key, or says what became of it instead.
    async fn insert_key(
        &self,
        open: &mut Option<Open>,
        key: &ForeignKey,
        (row, version): (&NewKeyRow, &NewVersionRow),
    ) -> Result<Option<Outcome>, ImportError> {
        let change = Open::or_begin(self, open, row.tenant).await?;
        let imported = ImportedRow {
            source: &self.called,
            kind: Kind::Key.name(),
            foreign_id: &key.id,
            local_id: row.id.bytes(),
            names_hash: None,
        };
        if !change
            .insert_imported_row(&imported, row.created_at)
            .await?
        {
            return Ok(Some(Outcome::Known));
        }
        match vault::hold_a_place(change, row.tenant).await {
            Err(ApiError::TooMany) => {
                change.delete_imported_row(&imported).await?;
                return Ok(Some(Outcome::LeftOut(FULL.to_owned())));
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
        Ok(None)
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

/// What is told of a key that is called otherwise here.
fn renamed(key: &ForeignKey, name: &KeyName) -> Option<String> {
    let given = key.name.as_deref().map(str::trim);
    let given = given.filter(|given| !given.is_empty());
    let given = given.or(key.provider.as_deref())?;
    let name = name.to_string();
    (given != name).then(|| format!("it is called {name} here, not {}", shown(Some(given))))
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

const OTHERS: &str = "one of this id came with an earlier import, and is another account's: give \
    another system a name of its own with --called";
const FULL: &str = "its owner has as many keys as a tenant may have";
const BATCH: usize = 200;
/// Leaves room for a number.
const LONGEST_NAME: usize = 52;
