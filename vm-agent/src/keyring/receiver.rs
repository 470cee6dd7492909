//! The pages of one connected tool.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::local::RefusalCode;
use keyferry_protocol::memory::{PageState, ProtectionLevel, SecretPage, scrub};
use keyferry_protocol::wire::Delivery;

use super::{Entry, PageLimit};
use crate::socket::Peer;

/// A connected tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReceiverId(pub(super) u64);

/// What a tool gets: the page to map, and the version in it.
#[derive(Debug)]
pub struct Opened {
    /// The page.
    pub descriptor: OwnedFd,
    /// What it holds.
    pub version: u32,
}

/// What a page of a tool holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The key.
    pub key: KeyName,
    /// The newest version that was in it.
    pub version: u32,
    /// Whether it still is.
    pub state: PageState,
}

/// Its pages, by key.
#[derive(Default)]
pub(super) struct Receiver(BTreeMap<KeyName, Shared>);

struct Shared {
    page: SecretPage,
    /// Who has opened it.
    peer: Peer,
    version: u32,
    state: PageState,
}

impl Receiver {
    /// The same page again when the tool asks again.
    pub(super) fn open(
        &mut self,
        (key, entry): (&KeyName, &Entry),
        peer: &Peer,
        (level, limit): (ProtectionLevel, PageLimit),
    ) -> Result<Opened, RefusalCode> {
        if !self.0.contains_key(key) {
            if self.0.len() >= limit.0 {
                return Err(RefusalCode::Busy);
            }
            let page = SecretPage::new(level).map_err(|_used_up| RefusalCode::Busy)?;
            let empty = Shared {
                page,
                peer: peer.clone(),
                version: 0,
                state: PageState::Empty,
            };
            self.0.insert(key.clone(), empty);
        }
        if let Some(shared) = self.0.get_mut(key)
            && shared.state != PageState::Live
        {
            shared.peer = peer.clone();
            self.publish(key, entry);
        }
        let shared = self.0.get(key).ok_or(RefusalCode::NotFound)?;
        let descriptor = shared.page.descriptor().try_clone_to_owned();
        let descriptor = descriptor.map_err(|_used_up| RefusalCode::Busy)?;
        Ok(Opened {
            descriptor,
            version: shared.version,
        })
    }

    /// Shows the entry's value in this tool's page, if it has one. A key that has become
    /// inject-only, or whose owner does not let this tool have it any more, leaves it.
    pub(super) fn publish(&mut self, key: &KeyName, entry: &Entry) {
        let Some(shared) = self.0.get_mut(key) else {
            return;
        };
        match (&entry.value, entry.delivery) {
            (Some(value), Delivery::Raw) if shared.peer.is_let(&entry.policy.tools) => {
                shared.page.publish(entry.version, value.expose());
                scrub();
                (shared.version, shared.state) = (entry.version, PageState::Live);
            }
            _ => self.zero(key, PageState::Revoked),
        }
    }

    pub(super) fn zero(&mut self, key: &KeyName, reason: PageState) {
        if let Some(shared) = self.0.get_mut(key) {
            shared.page.zero(reason);
            shared.state = reason;
        }
    }

    pub(super) fn zero_all(&mut self, reason: PageState) {
        for shared in self.0.values_mut() {
            shared.page.zero(reason);
        }
    }

    pub(super) fn has(&self, key: &KeyName) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn shares(&self) -> Vec<Share> {
        let share = |(key, shared): (&KeyName, &Shared)| Share {
            key: key.clone(),
            version: shared.version,
            state: shared.state,
        };
        self.0.iter().map(share).collect()
    }
}
