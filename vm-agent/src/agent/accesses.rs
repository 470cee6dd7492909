//! Counts who opened what, until the server is told.

use std::collections::BTreeMap;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::wire::Access;

/// One line per key, version, user and outcome.
#[derive(Default)]
pub(super) struct Accesses(BTreeMap<Kind, Access>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    key: KeyName,
    version: u32,
    uid: u32,
    allowed: bool,
}

impl Accesses {
    /// Past the bound only what is already counted goes on being counted.
    pub(super) fn note(&mut self, access: Access) {
        let kind = Kind {
            key: access.key.clone(),
            version: access.version,
            uid: access.uid,
            allowed: access.allowed,
        };
        if let Some(known) = self.0.get_mut(&kind) {
            known.count = known.count.saturating_add(access.count);
            known.sent = known.sent.saturating_add(access.sent);
            known.received = known.received.saturating_add(access.received);
            known.at = access.at;
        } else if self.0.len() < MOST {
            self.0.insert(kind, access);
        }
    }

    pub(super) fn take(&mut self) -> Vec<Access> {
        std::mem::take(&mut self.0).into_values().collect()
    }
}

const MOST: usize = 256;

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
            allowed: true,
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
        assert_eq!(accesses.take().len(), MOST);
    }
}
