//! What the parts of the server, and several servers, tell each other. Every event is a hint to
//! read the database again, so a lost one makes a reader late, never wrong.
//!
//! ```text
//!  commit ──▶ hearers here ──▶ agent sessions
//!    │  └──▶ Redis ──▶ hearers elsewhere        at once, and may be lost
//!    └─────▶ notes in the database ──▶ hearers elsewhere    twice a second, and is not lost
//! ```

mod event;
mod hearers;
mod notes;
mod relay;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) use event::Event;
use hearers::Hearers;
pub(crate) use hearers::{Heard, Subscriber, Topic};
use notes::Known;
pub(crate) use notes::follow;
pub(crate) use relay::relay;

use crate::app::App;
use crate::store::{StoreError, Transaction};

/// Carries events to every subscriber in this process, and out of it.
#[derive(Clone)]
pub(crate) struct Bus(Arc<Ends>);

struct Ends {
    process: Uuid,
    hearers: Arc<Hearers>,
    /// To other servers, by way of [`relay()`].
    away: broadcast::Sender<Published>,
    /// Which notes have been heard of, one way or the other.
    known: Mutex<Known>,
}

/// An event on its way to other servers, with the number of its note.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    event: Event,
    note: Option<i64>,
}

/// Makes a change durable together with a note of what changed, and tells everyone of it.
pub(crate) async fn commit(
    app: &App,
    mut change: Transaction,
    events: &[Event],
) -> Result<(), StoreError> {
    let now = app.clock.now();
    let mut told = Vec::with_capacity(events.len());
    for event in events.iter().copied() {
        let note = Some(change.note_change(&event.note(), now).await?);
        told.push(Published { event, note });
    }
    change.commit().await?;
    for published in told {
        app.bus.send(published);
    }
    Ok(())
}

impl Bus {
    /// For the process that other servers know by this name.
    pub(crate) fn new(process: Uuid) -> Self {
        Self(Arc::new(Ends {
            process,
            hearers: Arc::default(),
            away: broadcast::Sender::new(CAPACITY),
            known: Mutex::default(),
        }))
    }

    /// Whatever happens to one of these from now on is heard.
    pub(crate) fn subscribe(&self, topics: &[Topic]) -> Subscriber {
        self.0.hearers.subscribe(topics)
    }

    /// Tells of what is worth no note: whoever misses it looks again by the clock.
    pub(crate) fn hint(&self, event: Event) {
        self.send(Published { event, note: None });
    }

    /// Has everybody in this process read everything again.
    pub(crate) fn tell_of_a_gap(&self) {
        self.0.hearers.tell_of_a_gap();
    }

    /// Tells everyone who listens; it is no fault if nobody does.
    fn send(&self, published: Published) {
        self.hear(published);
        let _there_is_no_redis = self.0.away.send(published);
    }

    /// Passes an event on, unless it came another way before.
    fn hear(&self, Published { event, note }: Published) {
        if note.is_none_or(|note| self.known(|known| known.meet(note, Instant::now()))) {
            self.0.hearers.tell(event);
        }
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.0.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::{Bus, Event, Heard, Published, Topic, Uuid};
    use crate::store::SessionId;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn an_event_that_comes_two_ways_is_heard_once() {
        let session = SessionId::from_bytes([7; 16]);
        let event = Event::SessionEnded { session };
        let bus = Bus::new(Uuid::nil());
        let mut outgoing = bus.0.away.subscribe();
        let mut hearing = bus.subscribe(&[Topic::Session(session)]);
        for (note, told) in [(1, true), (1, false), (2, true)] {
            let note = Some(note);
            bus.hear(Published { event, note });
            let heard = hearing.hear().now_or_never();
            assert_eq!(heard, told.then_some(Heard::Event(event)));
        }
        assert!(
            outgoing.try_recv().is_err(),
            "what was heard is not sent on"
        );
    }
}
