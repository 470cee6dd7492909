//! What an import did, or would do.

use std::collections::BTreeMap;

use serde::Serialize;

/// In which column of the other system each field is, by `users.FIELD` or `keys.FIELD`.
pub(crate) type Columns = BTreeMap<String, Option<String>>;

/// Counts, and why rows were left out.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    pub(crate) columns: Columns,
    pub(crate) users: Tally,
    pub(crate) keys: Tally,
    pub(crate) left_out: Vec<LeftOut>,
}

/// How many rows of one kind.
#[derive(Default, Serialize)]
pub(crate) struct Tally {
    pub(crate) imported: u64,
    /// Came with an earlier import.
    pub(crate) known: u64,
    pub(crate) left_out: u64,
}

/// A row that was not imported.
#[derive(Serialize)]
pub(crate) struct LeftOut {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) reason: String,
}

/// What became of one row.
pub(super) enum Outcome {
    Imported,
    Known,
    LeftOut(String),
}

impl Report {
    pub(super) fn note_user(&mut self, id: &str, outcome: Outcome) {
        let left_out = self.users.note(outcome);
        self.left_out.extend(left_out.map(|reason| LeftOut {
            kind: "user",
            id: id.to_owned(),
            reason,
        }));
    }

    pub(super) fn note_key(&mut self, id: &str, outcome: Outcome) {
        let left_out = self.keys.note(outcome);
        self.left_out.extend(left_out.map(|reason| LeftOut {
            kind: "key",
            id: id.to_owned(),
            reason,
        }));
    }
}

impl Tally {
    fn note(&mut self, outcome: Outcome) -> Option<String> {
        match outcome {
            Outcome::Imported => self.imported += 1,
            Outcome::Known => self.known += 1,
            Outcome::LeftOut(reason) => {
                self.left_out += 1;
                return Some(reason);
            }
        }
        None
    }
}
