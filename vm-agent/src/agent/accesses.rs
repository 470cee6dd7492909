//! Counts who opened what, until the server is told.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::wire::{Access, AccessKind};

/// One line per key, version, user and kind of access.
#[derive(Default)]
pub(super) struct Accesses(BTreeMap<Kind, Access>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    key: KeyName,
    version: u32,
    uid: u32,
    kind: AccessKind,
}

impl Accesses {
    /// Past the bound there is one line for all the rest, so that nothing goes uncounted.
    pub(super) fn note(&mut self, access: Access) {
        let kind = Kind::of(&access);
        if self.0.len() < MOST || self.0.contains_key(&kind) {
            self.add(kind, access);
        } else {
            let rest = Access {
                key: no_key(),
                version: 0,
                uid: NOBODY,
                ..access
            };
            self.add(Kind::of(&rest), rest);
        }
    }

    fn add(&mut self, kind: Kind, access: Access) {
        match self.0.entry(kind) {
            Entry::Vacant(place) => {
                place.insert(access);
            }
            Entry::Occupied(known) => {
                let known = known.into_mut();
                known.count = known.count.saturating_add(access.count);
                known.sent = known.sent.saturating_add(access.sent);
                known.received = known.received.saturating_add(access.received);
                known.at = known.at.max(access.at);
            }
        }
    }

    pub(super) fn take(&mut self) -> Vec<Access> {
        std::mem::take(&mut self.0).into_values().collect()
    }
}

impl Kind {
    fn of(access: &Access) -> Self {
        Self {
            key: access.key.clone(),
            version: access.version,
            uid: access.uid,
            kind: access.kind,
        }
    }
}

/// A page or a token, given out or not.
pub(super) fn opened<T, E>(outcome: &Result<T, E>) -> AccessKind {
    match outcome {
        Ok(_) => AccessKind::Opened,
        Err(_) => AccessKind::Refused,
    }
}

/// What stands for every name that this machine holds no key of (PROTOCOL.md §6): who makes up names
/// fills no list with them.
pub(super) fn no_key() -> KeyName {
    "-".parse().expect("a dash is a key's name")
}

/// With the lines of the rest, one for each kind, as much as one message holds.
const MOST: usize = 509;
/// The kernel gives this number to no user.
const NOBODY: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn access(uid: u32, at: u64) -> Access {
        let key = "openai".parse().unwrap();
        Access {
            key,
            version: 1,
            uid,
            at,
            count: 1,
            sent: 10,
            received: 20,
            kind: AccessKind::Opened,
        }
    }

    #[test]
    fn accesses_of_one_user_are_counted_together() {
        let mut accesses = Accesses::default();
        for (uid, at) in [(1000, 5), (1001, 6), (1000, 7)] {
            accesses.note(access(uid, at));
        }
        let told = accesses.take();
        assert_eq!(
            told,
            [
                Access {
                    count: 2,
                    sent: 20,
                    received: 40,
                    ..access(1000, 7)
                },
                access(1001, 6)
            ]
        );
        assert!(accesses.take().is_empty());
    }

    #[test]
    fn a_flood_of_users_is_bounded() {
        let mut accesses = Accesses::default();
        (0..10_000).for_each(|uid| accesses.note(access(uid, 1)));
        let told = accesses.take();
        assert_eq!(told.len(), MOST + 1);
        let rest = told.iter().find(|access| access.uid == NOBODY).unwrap();
        assert_eq!(rest.key, no_key());
        assert_eq!(told.iter().map(|access| access.count).sum::<u32>(), 10_000);
    }
}
