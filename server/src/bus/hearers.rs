//! Who hears what: an event goes to those whom it concerns, and wakes nobody else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Event;
use crate::store::{SessionId, TenantId, VmId};

/// What an event can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// The keys of a tenant.
    Keys(TenantId),
    /// Any VM of a tenant.
    Vms(TenantId),
    /// One VM.
    Vm(VmId),
    /// One sign-in.
    Session(SessionId),
}

/// What a subscriber hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// One event.
    Event(Event),
    /// Events may have been missed: read everything again.
    Gap,
}

/// Hears what it has subscribed to, from that moment on.
pub(crate) struct Subscriber {
    letters: Arc<Letterbox>,
    places: Vec<Place>,
    hearers: Arc<Hearers>,
}

/// Everybody in this process who hears of anything.
#[derive(Default)]
pub(super) struct Hearers(Mutex<Directory>);

#[derive(Default)]
struct Directory {
    letterboxes: BTreeMap<Place, Arc<Letterbox>>,
    subscribed: u64,
}

/// A topic, and the number of one who cares for it.
type Place = (Topic, u64);

/// What has happened and was not heard yet.
#[derive(Default)]
struct Letterbox {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    gap: bool,
}

impl Hearers {
    pub(super) fn subscribe(self: &Arc<Self>, topics: &[Topic]) -> Subscriber {
        let letters = Arc::new(Letterbox::default());
        let mut directory = self.directory();
        directory.subscribed += 1;
        let number = directory.subscribed;
        let places: Vec<_> = topics.iter().map(|topic| (*topic, number)).collect();
        let entries = places.iter().map(|place| (*place, Arc::clone(&letters)));
        directory.letterboxes.extend(entries);
        drop(directory);
        Subscriber {
            letters,
            places,
            hearers: Arc::clone(self),
        }
    }

    /// Tells everybody whom it concerns.
    pub(super) fn tell(&self, event: Event) {
        let directory = self.directory();
        for topic in event.topics().into_iter().flatten() {
            let concerned = (topic, 0)..=(topic, u64::MAX);
            for (_, letters) in directory.letterboxes.range(concerned) {
                letters.put(event);
            }
        }
    }

    /// Tells everybody that they may have missed something.
    pub(super) fn tell_of_a_gap(&self) {
        for letters in self.directory().letterboxes.values() {
            letters.put_gap();
        }
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber {
    /// Waits for what happens next. Dropping the future loses nothing.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.letters.take() {
                return heard;
            }
            self.letters.bell.notified().await;
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let mut directory = self.hearers.directory();
        for place in &self.places {
            directory.letterboxes.remove(place);
        }
    }
}

impl Letterbox {
    /// What waits already need not be heard twice.
    fn put(&self, event: Event) {
        let mut waiting = self.waiting();
        if waiting.gap || waiting.events.contains(&event) {
            return;
        }
        if waiting.events.len() == MOST_WAITING {
            drop(waiting);
            return self.put_gap();
        }
        waiting.events.push_back(event);
        drop(waiting);
        self.bell.notify_one();
    }

    /// Who reads everything again needs no single event.
    fn put_gap(&self) {
        let mut waiting = self.waiting();
        waiting.gap = true;
        waiting.events = VecDeque::new();
        drop(waiting);
        self.bell.notify_one();
    }

    fn take(&self) -> Option<Heard> {
        let mut waiting = self.waiting();
        if std::mem::take(&mut waiting.gap) {
            return Some(Heard::Gap);
        }
        waiting.events.pop_front().map(Heard::Event)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MOST_WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const TENANTS: [TenantId; 2] = [TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])];

    fn keys(tenant: TenantId) -> Event {
        Event::KeysChanged { tenant }
    }

    fn vm(number: u8) -> Event {
        Event::VmChanged {
            tenant: TENANTS[0],
            vm: VmId::from_bytes([number; 16]),
        }
    }

    fn heard(subscriber: &mut Subscriber) -> Vec<Heard> {
        std::iter::from_fn(|| subscriber.hear().now_or_never()).collect()
    }

    #[test]
    fn an_event_wakes_those_whom_it_concerns_and_nobody_else() {
        let hearers = Arc::new(Hearers::default());
        let session = SessionId::from_bytes([3; 16]);
        let agent = |tenant, number| {
            let vm = VmId::from_bytes([number; 16]);
            hearers.subscribe(&[Topic::Keys(tenant), Topic::Vm(vm)])
        };
        let mut agents = [
            agent(TENANTS[0], 1),
            agent(TENANTS[0], 2),
            agent(TENANTS[1], 3),
        ];
        let watched = [
            Topic::Keys(TENANTS[0]),
            Topic::Vms(TENANTS[0]),
            Topic::Session(session),
        ];
        let mut watcher = hearers.subscribe(&watched);
        let ended = Event::SessionEnded { session };
        for event in [keys(TENANTS[0]), vm(2), ended, keys(TENANTS[1])] {
            hearers.tell(event);
        }
        let events = |events: &[Event]| events.iter().copied().map(Heard::Event).collect();
        let expected: [Vec<_>; 3] = [
            events(&[keys(TENANTS[0])]),
            events(&[keys(TENANTS[0]), vm(2)]),
            events(&[keys(TENANTS[1])]),
        ];
        assert_eq!(agents.each_mut().map(heard), expected);
        let all: Vec<_> = events(&[keys(TENANTS[0]), vm(2), ended]);
        assert_eq!(heard(&mut watcher), all);
    }

    #[test]
    fn what_waits_already_is_heard_once_and_again_when_it_happens_later() {
        let hearers = Arc::new(Hearers::default());
        let mut hearing = hearers.subscribe(&[Topic::Keys(TENANTS[0])]);
        for _ in 0..2 {
            hearers.tell(keys(TENANTS[0]));
            hearers.tell(keys(TENANTS[0]));
            assert_eq!(heard(&mut hearing), [Heard::Event(keys(TENANTS[0]))]);
        }
    }

    #[test]
    fn who_hears_too_slowly_learns_of_the_gap_and_then_of_what_is_new() {
        let hearers = Arc::new(Hearers::default());
        let mut slow = hearers.subscribe(&[Topic::Vms(TENANTS[0])]);
        for number in 0..=MOST_WAITING {
            hearers.tell(vm(u8::try_from(number).unwrap()));
        }
        assert_eq!(heard(&mut slow), [Heard::Gap]);
        hearers.tell(vm(1));
        assert_eq!(heard(&mut slow), [Heard::Event(vm(1))]);
    }

    #[test]
    fn a_gap_is_for_everybody_and_who_is_gone_is_forgotten() {
        let hearers = Arc::new(Hearers::default());
        let mut both = TENANTS.map(|tenant| hearers.subscribe(&[Topic::Keys(tenant)]));
        hearers.tell(keys(TENANTS[0]));
        hearers.tell_of_a_gap();
        assert_eq!(both.each_mut().map(heard), [[Heard::Gap], [Heard::Gap]]);
        drop(both);
        assert!(hearers.directory().letterboxes.is_empty());
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let hearers = Arc::new(Hearers::default());
        let mut hearing = hearers.subscribe(&[Topic::Keys(TENANTS[0])]);
        let telling = async { hearers.tell(keys(TENANTS[0])) };
        let (heard, ()) = tokio::join!(hearing.hear(), telling);
        assert_eq!(heard, Heard::Event(keys(TENANTS[0])));
    }
}
