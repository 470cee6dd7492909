//! The keys: one private master copy each, and one shared page for each tool that has opened it.
//!
//! ```text
//!  Put ─▶ master copy (locked, ours alone) ─┬─▶ page of tool 1 ─fd─▶ mapped there
//!                                           └─▶ page of tool 2 ─fd─▶ mapped there
//! ```
//!
//! A tool can map its page writable and spoil it. It spoils its own, and no other.

mod receiver;
mod usage;

use std::collections::BTreeMap;
use std::time::Duration;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::local::RefusalCode;
use keyferry_protocol::memory::{Arena, LockedBox, PageState, ProtectionLevel, scrub};
use keyferry_protocol::wire::{Delivery, Held, KeyPolicy, Outcome, Put, ToolRule, Used};
use keyferry_sdk::status;

use crate::socket::Peer;
use keyferry_sdk::lease::Moment;
use receiver::Receiver;
pub use receiver::{Opened, ReceiverId, Share};
pub use usage::{Bound, Spent, Usage};

/// All keys of this agent, and who shares them.
pub struct Keyring {
    arena: Arena,
    entries: BTreeMap<KeyName, Entry>,
    receivers: BTreeMap<ReceiverId, Receiver>,
    next_receiver: u64,
    limit: PageLimit,
}

/// How many pages one tool may have open.
#[derive(Debug, Clone, Copy)]
pub struct PageLimit(pub usize);

/// Where the proxy takes a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The provider preset.
    pub provider: String,
    /// The hosts that the owner allows; none for the provider's own.
    pub hosts: Vec<String>,
    /// The newest version.
    pub version: u32,
}

struct Entry {
    version: u32,
    state: PageState,
    delivery: Delivery,
    not_after: Option<Duration>,
    provider: String,
    hosts: Vec<String>,
    value: Option<LockedBox>,
    policy: KeyPolicy,
    opened: u64,
    usage: Usage,
    confirmed: bool,
}

impl Keyring {
    /// Holds nothing yet. Master copies come from `arena`, pages have its protection.
    pub fn new(arena: Arena, limit: PageLimit) -> Self {
        let (entries, receivers) = (BTreeMap::new(), BTreeMap::new());
        Self {
            arena,
            entries,
            receivers,
            next_receiver: 0,
            limit,
        }
    }

    /// Holds a version of a key, in every page of it too. An older one than what this session has
    /// told is not wanted any more; in a new session a key may have begun anew under its name.
    pub fn put(&mut self, put: &Put<'_>) -> Outcome {
        if self.entries.len() >= MOST_KEYS && !self.entries.contains_key(&put.key) {
            self.forget_the_ended();
        }
        let known = self.entries.get(&put.key);
        let told = known.filter(|entry| entry.value.is_some() && entry.confirmed);
        if told.is_some_and(|entry| entry.version > put.version) {
            return Outcome::Wiped;
        }
        if known.is_none() && self.entries.len() >= MOST_KEYS {
            return Outcome::Refused;
        }
        let held = self.arena.hold(put.value);
        scrub();
        let Ok(value) = held else {
            return Outcome::Refused;
        };
        let entry = Entry {
            version: put.version,
            state: PageState::Live,
            delivery: put.delivery,
            not_after: (put.not_after > 0).then(|| Duration::from_micros(put.not_after)),
            provider: put.provider.to_owned(),
            hosts: put
                .allowed_hosts
                .iter()
                .map(|host| (*host).to_owned())
                .collect(),
            value: Some(value),
            policy: put.policy.clone(),
            opened: known.map_or(0, |entry| entry.opened),
            usage: known.map_or_else(Usage::default, |entry| entry.usage),
            confirmed: true,
        };
        for receiver in self.receivers.values_mut() {
            receiver.publish(&put.key, &entry);
        }
        self.entries.insert(put.key.clone(), entry);
        Outcome::Held
    }

    /// The overlap of this version is over.
    pub fn retire(&mut self, key: &KeyName, version: u32) -> Outcome {
        if self
            .entries
            .get(key)
            .is_some_and(|entry| entry.version == version)
        {
            self.zero(key, PageState::Revoked);
        }
        Outcome::Wiped
    }

    /// The owner has withdrawn the key.
    pub fn revoke(&mut self, key: &KeyName) -> Outcome {
        self.zero(key, PageState::Revoked);
        Outcome::Wiped
    }

    /// Zeroes everything that is live.
    pub fn wipe(&mut self, reason: PageState) {
        self.zero_where(reason, |_entry| true);
    }

    /// Zeroes what has reached its own end.
    pub fn expire(&mut self, wall: Duration) -> bool {
        self.zero_where(PageState::Revoked, |entry| {
            entry.not_after.is_some_and(|end| end <= wall)
        })
    }

    /// From here to [`end_batch`](Self::end_batch) the server tells all keys that this VM may have.
    pub fn begin_batch(&mut self) {
        self.entries
            .values_mut()
            .for_each(|entry| entry.confirmed = false);
    }

    /// What was held before and not told again is no longer ours.
    pub fn end_batch(&mut self) {
        self.zero_where(PageState::Revoked, |entry| !entry.confirmed);
        self.forget_the_ended();
    }

    /// A tool has connected.
    pub fn join(&mut self) -> ReceiverId {
        let id = ReceiverId(self.next_receiver);
        self.next_receiver += 1;
        self.receivers.insert(id, Receiver::default());
        id
    }

    /// A tool has gone. Whatever still maps its pages finds zeros: nobody would end its lease.
    pub fn leave(&mut self, id: ReceiverId) {
        if let Some(mut receiver) = self.receivers.remove(&id) {
            receiver.zero_all(PageState::LeaseOver);
        }
    }

    /// The page of this key for this tool.
    pub fn open(
        &mut self,
        id: ReceiverId,
        peer: &Peer,
        key: &KeyName,
    ) -> Result<Opened, RefusalCode> {
        let entry = self.entries.get_mut(key).ok_or(RefusalCode::NotFound)?;
        if entry.delivery == Delivery::Inject {
            return Err(RefusalCode::InjectOnly);
        }
        entry.live()?;
        let receiver = self.receivers.get_mut(&id).ok_or(RefusalCode::Busy)?;
        let bounds = (self.arena.level(), self.limit);
        let opened = receiver.open((key, entry), peer, bounds)?;
        entry.opened += 1;
        Ok(opened)
    }

    /// Whether there is a key of this name, or was one.
    pub fn knows(&self, key: &KeyName) -> bool {
        self.entries.contains_key(key)
    }

    /// Where the proxy takes this key.
    pub fn route(&self, key: &KeyName) -> Result<Route, RefusalCode> {
        let entry = self.entries.get(key).ok_or(RefusalCode::NotFound)?;
        entry.live()?;
        Ok(Route {
            provider: entry.provider.clone(),
            hosts: entry.hosts.clone(),
            version: entry.version,
        })
    }

    /// Shows the key itself to the proxy, whatever its delivery.
    pub fn expose<T>(
        &self,
        key: &KeyName,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, RefusalCode> {
        let entry = self.entries.get(key).ok_or(RefusalCode::NotFound)?;
        Ok(read(entry.live()?.expose()))
    }

    /// Which tools the key's owner lets use it; none for all that the machine's rules admit.
    pub fn tools(&self, key: &KeyName) -> &[ToolRule] {
        let entry = self.entries.get(key);
        entry.map_or(&[], |entry| entry.policy.tools.as_slice())
    }

    /// The keys that their owners give to certain programs only.
    pub fn limited_to_programs(&self) -> Vec<KeyName> {
        let limited = |entry: &Entry| entry.policy.tools.iter().any(ToolRule::names_a_program);
        let keys = self.entries.iter();
        let keys = keys.filter(|(_key, entry)| entry.value.is_some() && limited(entry));
        keys.map(|(key, _entry)| key.clone()).collect()
    }

    /// Takes one request from the budget of a key.
    pub fn spend(&mut self, key: &KeyName, now: Moment) -> Result<(), Spent> {
        match self.entries.get_mut(key) {
            Some(entry) => entry.usage.spend(entry.policy.budget, now),
            None => Ok(()),
        }
    }

    /// What earlier runs of the agent have used on the day of this time.
    pub fn take_usage(&mut self, told: &[Used], wall: Duration) {
        for used in told {
            if let Some(entry) = self.entries.get_mut(&used.key) {
                entry.usage.at_least((used.requests, used.bytes), wall);
            }
        }
    }

    /// Counts what a request has moved.
    pub fn moved(&mut self, key: &KeyName, bytes: (u64, u64), wall: Duration) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.usage.moved(bytes, wall);
        }
    }

    /// What a tool's pages hold now.
    pub fn shares(&self, id: ReceiverId) -> Vec<Share> {
        self.receivers
            .get(&id)
            .map(Receiver::shares)
            .unwrap_or_default()
    }

    /// How many tools are connected.
    pub fn receivers(&self) -> usize {
        self.receivers.len()
    }

    /// Whether there is any key in memory.
    pub fn holds_any(&self) -> bool {
        self.entries.values().any(|entry| entry.value.is_some())
    }

    /// How all of it is protected.
    pub fn level(&self) -> ProtectionLevel {
        self.arena.level()
    }

    /// For the server.
    pub fn held(&self) -> Held {
        let live = self
            .entries
            .iter()
            .filter(|(_key, entry)| entry.value.is_some());
        let keys = live
            .map(|(key, entry)| (key.clone(), entry.version))
            .collect();
        Held {
            protection: self.level(),
            keys,
        }
    }

    /// For people.
    pub fn report(&self) -> Vec<status::Key> {
        self.entries
            .iter()
            .map(|(key, entry)| status::Key {
                name: key.to_string(),
                version: entry.version,
                state: state_name(entry.state).to_owned(),
                delivery: delivery_name(entry.delivery).to_owned(),
                pages: self
                    .receivers
                    .values()
                    .filter(|receiver| receiver.has(key))
                    .count(),
                opened: entry.opened,
                requests: entry.usage.requests,
                sent: entry.usage.sent,
                received: entry.usage.received,
            })
            .collect()
    }

    fn zero(&mut self, key: &KeyName, reason: PageState) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.end(reason);
            for receiver in self.receivers.values_mut() {
                receiver.zero(key, reason);
            }
        }
    }

    fn zero_where(&mut self, reason: PageState, ends: impl Fn(&Entry) -> bool) -> bool {
        let ending = |(_key, entry): &(&KeyName, &Entry)| entry.value.is_some() && ends(entry);
        let names: Vec<_> = self
            .entries
            .iter()
            .filter(ending)
            .map(|(key, _entry)| key.clone())
            .collect();
        names.iter().for_each(|key| self.zero(key, reason));
        !names.is_empty()
    }

    /// What the owner has withdrawn is remembered, so that tools hear why, up to a bound.
    fn forget_the_ended(&mut self) {
        while self.entries.len() > MOST_KEYS / 2 {
            let ended = self
                .entries
                .iter()
                .find(|(_key, entry)| entry.value.is_none());
            let Some(key) = ended.map(|(key, _entry)| key.clone()) else {
                return;
            };
            self.entries.remove(&key);
        }
    }
}

impl Entry {
    fn live(&self) -> Result<&LockedBox, RefusalCode> {
        match (self.state, &self.value) {
            (PageState::Live, Some(value)) => Ok(value),
            (PageState::LeaseOver, _) => Err(RefusalCode::LeaseOver),
            _ => Err(RefusalCode::Revoked),
        }
    }

    fn end(&mut self, reason: PageState) {
        self.value = None;
        self.state = reason;
    }
}

fn state_name(state: PageState) -> &'static str {
    match state {
        PageState::Empty => "empty",
        PageState::Live => "live",
        PageState::Revoked => "revoked",
        PageState::LeaseOver => "lease_over",
    }
}

fn delivery_name(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Inject => "inject",
        Delivery::Raw => "raw",
    }
}

/// More names than this are refused.
const MOST_KEYS: usize = 256;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
