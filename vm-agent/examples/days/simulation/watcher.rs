//! Looks at what the agent holds, all the time, and fails where that is not what it should be.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use keyferry_agent::agent::Agent;
use keyferry_agent::keyring::{Keyring, ReceiverId};
use keyferry_agent::socket::Peer;
use keyferry_protocol::ids::KeyName;
use keyferry_protocol::memory::{MappedPage, ValueBuffer};
use keyferry_sdk::status::Health;

use super::host::{Host, Reach};

/// A tool that has every key open, and knows what the server knows.
pub(crate) struct Watcher {
    agent: Arc<Agent>,
    host: Arc<Host>,
    tool: ReceiverId,
    peer: Peer,
    pages: BTreeMap<KeyName, MappedPage>,
    buffer: ValueBuffer,
    /// Since when nothing is in the agent's way.
    well_since: Duration,
    jumped_at: Option<Duration>,
    pub(crate) looks: u64,
    pub(crate) live: u64,
}

impl Watcher {
    pub(crate) fn new(agent: &Arc<Agent>, host: &Arc<Host>) -> Self {
        Self {
            tool: agent.change(Keyring::join),
            peer: this_process(),
            agent: Arc::clone(agent),
            host: Arc::clone(host),
            pages: BTreeMap::new(),
            buffer: ValueBuffer::new(&host.arena).expect("an arena has room for a value"),
            well_since: host.now(),
            jumped_at: None,
            looks: 0,
            live: 0,
        }
    }

    /// Something is, or was until now, in the agent's way.
    pub(crate) fn disturbed(&mut self) {
        self.well_since = self.host.now();
    }

    /// The machine is not what it was.
    pub(crate) fn jumped(&mut self) {
        self.disturbed();
        self.jumped_at = Some(self.host.now());
    }

    pub(crate) fn look(&mut self) {
        self.looks += 1;
        if *self.host.reach.borrow() != Reach::Served || self.host.records().banned_at.is_some() {
            self.disturbed();
        }
        let names: Vec<_> = self.host.records().keys.keys().cloned().collect();
        let mut current = BTreeMap::new();
        for name in names {
            if let Some(version) = self.look_at(&name) {
                self.live += 1;
                current.insert(name, version);
            }
        }
        self.is_back(&current);
    }

    /// What the tool reads and what the proxy would send are the same, and may be there.
    fn look_at(&mut self, name: &KeyName) -> Option<u32> {
        let sent = self.agent.look(|keys| {
            let version = keys.route(name)?.version;
            keys.expose(name, |value| (version, value.to_vec()))
        });
        if !self.pages.contains_key(name) {
            let open = |keys: &mut Keyring| keys.open(self.tool, &self.peer, name);
            let opened = self.agent.change(open).ok()?;
            let page = MappedPage::map(opened.descriptor).expect("a page can be mapped");
            self.pages.insert(name.clone(), page);
        }
        let read = self.pages.get(name)?.read(&mut self.buffer).ok();
        assert_eq!(
            read,
            sent.as_ref().ok().map(|sent| sent.0),
            "{name}: page and proxy"
        );
        let version = read?;
        self.may_be_there(name, version, self.buffer.expose());
        Some(version)
    }

    fn may_be_there(&self, name: &KeyName, version: u32, value: &[u8]) {
        let records = self.host.records();
        let now = self.host.now();
        let stored = &records.keys[name][version as usize - 1];
        assert!(stored.value == value, "{name} {version}: another value");
        let leased = records.leased_until + SLACK;
        assert!(
            now <= leased,
            "{name} {version}: {:?} past its lease",
            now - leased
        );
        let ended = [stored.ended_at, records.banned_at]
            .into_iter()
            .flatten()
            .min();
        if let Some(ended) = ended {
            let lease = Duration::from_secs(records.longest_lease.into());
            // Who is in touch has been told, at the latest when it came back.
            let known = records.in_touch_since.map(|since| since.max(ended));
            let last = known.unwrap_or(ended + lease) + SLACK;
            assert!(
                now <= last,
                "{name} {version}: {:?} after its end",
                now - ended
            );
        }
        if let Some(end) = stored.not_after {
            assert!(
                self.host.machine.wall() <= end + SLACK,
                "{name} {version}: past its end"
            );
        }
        if let Some(jumped) = self.jumped_at {
            let told_since = records.put_at.get(name).is_some_and(|put| *put >= jumped);
            assert!(
                told_since || now - jumped <= SLACK,
                "{name} {version}: from before a jump"
            );
        }
    }

    /// With nothing in its way the agent is healthy, and holds what it may.
    fn is_back(&self, current: &BTreeMap<KeyName, u32>) {
        let now = self.host.now();
        if now - self.well_since < BACK {
            return;
        }
        let status = self.agent.status();
        assert_eq!(status.health, Health::Healthy, "stuck: {status:?}");
        let records = self.host.records();
        for (name, version) in records.deliverable(self.host.machine.wall()) {
            let since = records.keys[&name][version as usize - 1].since;
            let held = current.get(&name) == Some(&version);
            assert!(
                held || now - since <= SLACK,
                "{name} {version} does not reach the agent"
            );
        }
    }
}

/// The tool, as the agent's socket would see it.
fn this_process() -> Peer {
    let (ours, _theirs) = UnixStream::pair().expect("a pair of sockets can be made");
    Peer::of_socket(&ours).expect("the kernel knows this process")
}

/// The agent looks at its clocks every second.
const SLACK: Duration = Duration::from_millis(2500);
/// 35 s until a silent server is given up, a beat of 10 s, an attempt that a hung server spoils, and
/// the longest wait of 30 s.
const BACK: Duration = Duration::from_secs(95);
