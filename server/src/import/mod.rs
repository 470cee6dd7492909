//! Users and keys of another system: bcrypt hashes are kept, Fernet tokens are opened and sealed
//! anew. An import that is repeated takes what is new and leaves the rest as it is.

mod fernet;
mod keys;
mod layout;
mod report;
mod rows;
mod source;
mod state;
mod users;

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use serde::Serialize;
use uuid::Uuid;

pub(crate) use fernet::FernetKeys;
pub(crate) use layout::{KEYS, LayoutError, USERS};
pub(crate) use report::{Remark, Report};
pub(crate) use source::{Source, SourceError, Tables};

use self::report::{Columns, Outcome};
use crate::app::App;
use crate::error::ApiError;
use crate::store::{EarlierRow, StoreError, TenantId, UserId};
use crate::vault::policy::Policy;

/// What is imported, and how.
pub(crate) struct Import<'a> {
    pub(crate) app: &'a App,
    pub(crate) source: &'a Source,
    /// Under which name the source is known at the next import.
    pub(crate) called: String,
    /// Under which other name an earlier import may have known it.
    pub(crate) called_before: Option<String>,
    pub(crate) fernet: FernetKeys,
    pub(crate) policy: Policy,
    pub(crate) run: Run,
    /// The command, in the audit.
    pub(crate) correlation: Uuid,
}

/// Whether anything is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    Dry,
    Real,
}

/// What a row is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    User,
    Key,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Key => "key",
        }
    }
}

/// Why an import cannot go on. What was imported before stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the other system's database cannot be read any more")]
    Reading(#[from] sqlx::Error),
    #[error("our database cannot be written")]
    Store(#[from] StoreError),
    #[error("a row cannot be imported")]
    Refused(#[from] ApiError),
}

/// Whom a key belongs to.
#[derive(Clone, Copy)]
struct Owner {
    user: UserId,
    tenant: TenantId,
}

impl Import<'_> {
    /// How many rows there are to look at.
    pub(crate) async fn size(&self) -> Result<u64, ImportError> {
        Ok(self.source.count().await?)
    }

    /// Takes every row, users first; `progress` hears of each.
    pub(crate) async fn run(&self, progress: impl Fn()) -> Result<Report, ImportError> {
        let mut report = Report {
            called: self.called.clone(),
            columns: self.source.columns(),
            ..Report::default()
        };
        let (mut owners, mut named) = (HashMap::new(), HashSet::new());
        let mut users = self.source.users();
        while let Some(user) = users.try_next().await? {
            progress();
            match user {
                Ok(user) => {
                    let (outcome, owner) = self.user(&user, &mut named).await?;
                    owners.extend(owner.map(|owner| (user.id.clone(), owner)));
                    report.note(Kind::User, &user.id, outcome);
                }
                Err(row) => report.note(Kind::User, &row.id, Outcome::LeftOut(row.reason)),
            }
        }
        drop(users);
        self.keys(&owners, &mut report, progress).await?;
        Ok(report)
    }

    /// What an earlier import made of a row.
    async fn earlier(&self, kind: Kind, id: &str) -> Result<Option<EarlierRow>, ImportError> {
        for called in [Some(&self.called), self.called_before.as_ref()] {
            let Some(called) = called else { continue };
            let row = self.app.store.imported_row(called, kind.name(), id);
            if let Some(row) = row.await? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

/// What is wrong with a value, in a sentence's words.
fn faults(refused: ApiError) -> Result<String, ApiError> {
    match refused {
        ApiError::Invalid(faults) => {
            let faults: Vec<String> = faults.into_iter().map(|fault| fault.detail).collect();
            Ok(faults.join(", "))
        }
        other => Err(other),
    }
}
