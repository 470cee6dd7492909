//! The keys of a program that has no agent, each in a page of its own.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::local::RefusalCode;
use keyferry_protocol::memory::{PageState, ProtectionLevel, SecretPage, scrub};
use keyferry_protocol::wire::{Delivery, Held, Outcome, Put};

use super::oneself::Oneself;
use crate::Change;

/// All keys that may be read, and the names of the others.
pub(super) struct Pages {
    level: ProtectionLevel,
    oneself: Oneself,
    keys: BTreeMap<KeyName, Own>,
}

struct Own {
    page: SecretPage,
    delivery: Delivery,
    /// By the owner's rules for tools.
    permitted: bool,
    version: u32,
    state: PageState,
    not_after: Option<Duration>,
    confirmed: bool,
}

/// What has changed, for those who watch.
pub(super) type Changes = Vec<(KeyName, Change)>;

impl Pages {
    pub(super) fn new(level: ProtectionLevel) -> Self {
        Self {
            level,
            oneself: Oneself::look(),
            keys: BTreeMap::new(),
        }
    }

    /// Holds a version in its page. A key that this program may not read is not kept, nor an older
    /// version than what this session has told.
    pub(super) fn put(&mut self, put: &Put<'_>) -> (Outcome, Changes) {
        let permitted = self.oneself.is_let(&put.policy.tools);
        let Some(own) = self.own(&put.key) else {
            return (Outcome::Refused, Vec::new());
        };
        if own.state == PageState::Live && own.confirmed && own.version > put.version {
            return (Outcome::Wiped, Vec::new());
        }
        own.delivery = put.delivery;
        own.permitted = permitted;
        own.version = put.version;
        own.not_after = (put.not_after > 0).then(|| Duration::from_micros(put.not_after));
        own.confirmed = true;
        let outcome = match put.delivery {
            Delivery::Raw if permitted => {
                own.page.publish(put.version, put.value);
                scrub();
                own.state = PageState::Live;
                Outcome::Held
            }
            Delivery::Raw | Delivery::Inject => {
                own.zero(PageState::Revoked);
                Outcome::Wiped
            }
        };
        (outcome, vec![(put.key.clone(), own.now())])
    }

    pub(super) fn retire(&mut self, key: &KeyName, version: u32) -> Changes {
        self.zero_where(PageState::Revoked, |name, own| {
            name == key && own.version == version
        })
    }

    pub(super) fn revoke(&mut self, key: &KeyName) -> Changes {
        self.zero_where(PageState::Revoked, |name, _own| name == key)
    }

    /// Zeroes everything.
    pub(super) fn wipe(&mut self, reason: PageState) -> Changes {
        self.zero_where(reason, |_name, _own| true)
    }

    /// Zeroes what has reached its own end.
    pub(super) fn expire(&mut self, wall: Duration) -> Changes {
        self.zero_where(PageState::Revoked, |_name, own| {
            own.not_after.is_some_and(|end| end <= wall)
        })
    }

    /// From here to [`end_batch`](Self::end_batch) the server tells all keys.
    pub(super) fn begin_batch(&mut self) {
        for own in self.keys.values_mut() {
            own.confirmed = false;
        }
    }

    /// What was not told again is no longer ours.
    pub(super) fn end_batch(&mut self) -> Changes {
        self.zero_where(PageState::Revoked, |_name, own| !own.confirmed)
    }

    /// The page of a key, to be mapped, and the version in it.
    pub(super) fn open(&self, key: &KeyName) -> Result<(OwnedFd, u32), RefusalCode> {
        let own = self.keys.get(key).ok_or(RefusalCode::NotFound)?;
        if own.delivery == Delivery::Inject {
            return Err(RefusalCode::InjectOnly);
        }
        if !own.permitted {
            return Err(RefusalCode::NotPermitted);
        }
        match own.state {
            PageState::Live => {}
            PageState::LeaseOver => return Err(RefusalCode::LeaseOver),
            _ => return Err(RefusalCode::Revoked),
        }
        let descriptor = own.page.descriptor().try_clone_to_owned();
        let descriptor = descriptor.map_err(|_used_up| RefusalCode::Busy)?;
        Ok((descriptor, own.version))
    }

    /// For the server.
    pub(super) fn held(&self) -> Held {
        let live = self.keys.iter();
        let live = live.filter(|(_name, own)| own.state == PageState::Live);
        Held {
            protection: self.level,
            keys: live
                .map(|(name, own)| (name.clone(), own.version))
                .collect(),
        }
    }

    /// The page of a key, made when it is new. The ended make room.
    fn own(&mut self, key: &KeyName) -> Option<&mut Own> {
        if !self.keys.contains_key(key) {
            if self.keys.len() >= MOST_KEYS {
                self.keys.retain(|_name, own| own.state == PageState::Live);
            }
            if self.keys.len() >= MOST_KEYS {
                return None;
            }
            let own = Own {
                page: SecretPage::new(self.level).ok()?,
                delivery: Delivery::Inject,
                permitted: true,
                version: 0,
                state: PageState::Empty,
                not_after: None,
                confirmed: true,
            };
            self.keys.insert(key.clone(), own);
        }
        self.keys.get_mut(key)
    }

    fn zero_where(&mut self, reason: PageState, ends: impl Fn(&KeyName, &Own) -> bool) -> Changes {
        let mut changes = Vec::new();
        for (name, own) in &mut self.keys {
            if own.state == PageState::Live && ends(name, own) {
                own.zero(reason);
                changes.push((name.clone(), own.now()));
            }
        }
        changes
    }
}

impl Own {
    fn zero(&mut self, reason: PageState) {
        self.page.zero(reason);
        self.state = reason;
    }

    fn now(&self) -> Change {
        Change {
            version: self.version,
            state: self.state,
        }
    }
}

/// As an agent holds.
const MOST_KEYS: usize = 256;
