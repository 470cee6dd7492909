//! Users and keys of another system: bcrypt hashes are kept, Fernet tokens are opened and sealed
//! anew. An import that is repeated takes what is new and leaves the rest as it is.

mod fernet;
mod keys;
mod layout;
mod report;
mod source;
mod users;

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use uuid::Uuid;

pub(crate) use fernet::FernetKeys;
pub(crate) use layout::{KEYS, LayoutError, USERS};
pub(crate) use report::Report;
pub(crate) use source::{Source, SourceError, Tables};

use self::report::{Columns, Outcome};
use crate::app::App;
use crate::error::ApiError;
use crate::store::{StoreError, TenantId, UserId};
use crate::vault::policy::Policy;

/// What is imported, and how.
pub(crate) struct Import<'a> {
    pub(crate) app: &'a App,
    pub(crate) source: &'a Source,
    /// Under which name the source is known at the next import.
    pub(crate) called: String,
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
            columns: self.source.columns(),
            ..Report::default()
        };
        let (mut owners, mut named) = (HashMap::new(), HashSet::new());
        let mut users = self.source.users();
        while let Some(user) = users.try_next().await? {
            let (outcome, owner) = self.user(&user, &mut named).await?;
            owners.extend(owner.map(|owner| (user.id.clone(), owner)));
            report.note_user(&user.id, outcome);
            progress();
        }
        drop(users);
        self.keys(&owners, &mut report, progress).await?;
        Ok(report)
    }
}
