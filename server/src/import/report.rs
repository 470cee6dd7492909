//! What an import did, or would do.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Kind;

/// In which columns of the other system each field is, by `users.FIELD` or `keys.FIELD`.
pub(crate) type Columns = BTreeMap<String, Option<String>>;

/// Counts, and what did not become of rows what they are there.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    /// Under which name the other system is known from now on.
    pub(crate) called: String,
    pub(crate) columns: Columns,
    pub(crate) users: Tally,
    pub(crate) keys: Tally,
    pub(crate) left_out: Vec<Remark>,
    /// Imported, and nobody can log in: they are closed there.
    pub(crate) closed: Vec<Remark>,
    /// Imported, but for something that cannot be here what it is there.
    pub(crate) changed: Vec<Remark>,
}

/// How many rows of one kind.
#[derive(Default, Serialize)]
pub(crate) struct Tally {
    pub(crate) imported: u64,
    /// Came with an earlier import.
    pub(crate) known: u64,
    pub(crate) left_out: u64,
}

/// Something about one row.
#[derive(Serialize)]
pub(crate) struct Remark {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) reason: String,
}

/// What became of one row.
pub(super) enum Outcome {
    Imported(Differences),
    Known,
    LeftOut(String),
}

/// How a row that was imported differs from what it is there.
#[derive(Default)]
pub(super) struct Differences {
    /// Why the account is closed.
    pub(super) closed: Option<String>,
    pub(super) changed: Vec<String>,
}

impl Report {
    pub(super) fn note(&mut self, kind: Kind, id: &str, outcome: Outcome) {
        let tally = match kind {
            Kind::User => &mut self.users,
            Kind::Key => &mut self.keys,
        };
        let remark = |reason| Remark {
            kind,
            id: id.to_owned(),
            reason,
        };
        match outcome {
            Outcome::Imported(differences) => {
                tally.imported += 1;
                self.closed.extend(differences.closed.map(remark));
                let changed = differences.changed.into_iter();
                self.changed.extend(changed.map(remark));
            }
            Outcome::Known => tally.known += 1,
            Outcome::LeftOut(reason) => {
                tally.left_out += 1;
                self.left_out.push(remark(reason));
            }
        }
    }
}
