//! What the parts of the server, and several servers, tell each other. Every event is a hint to
//! read the database again, so a lost one makes a reader late, never wrong.
//!
//! ```text
//!  commit ──▶ hearers here ──▶ agent sessions
//!    │  └──▶ Redis ──▶ hearers elsewhere        at once, and may be lost
//!    └─────▶ notes in the database ──▶ hearers elsewhere    twice a second, and is not lost
//! ```

mod event;
mod notes;
mod relay;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) use event::Event;
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
    hearers: broadcast::Sender<Heard>,
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

/// Hears every event from the moment of subscribing.
pub(crate) struct Subscriber(broadcast::Receiver<Heard>);

/// What a subscriber hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// One event.
    Event(Event),
    /// Events may have been missed: read everything again.
    Gap,
    /// The server stops.
    Closed,
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
            hearers: broadcast::Sender::new(CAPACITY),
            away: broadcast::Sender::new(CAPACITY),
            known: Mutex::default(),
        }))
    }

    pub(crate) fn subscribe(&self) -> Subscriber {
        Subscriber(self.0.hearers.subscribe())
    }

    /// Tells everyone who listens; it is no fault if nobody does.
    fn send(&self, published: Published) {
        self.hear(published);
        let _there_is_no_redis = self.0.away.send(published);
    }

    /// Passes an event on, unless it came another way before.
    fn hear(&self, Published { event, note }: Published) {
        if note.is_none_or(|note| self.known(|known| known.meet(note, Instant::now()))) {
            self.tell(Heard::Event(event));
        }
    }

    fn tell(&self, heard: Heard) {
        let _nobody_listens = self.0.hearers.send(heard);
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.0.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subscriber {
    /// Waits for what happens next. Dropping the future loses nothing.
    pub(crate) async fn hear(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(heard) => heard,
            Err(broadcast::error::RecvError::Lagged(_)) => Heard::Gap,
            Err(broadcast::error::RecvError::Closed) => Heard::Closed,
        }
    }
}

const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::{Bus, CAPACITY, Event, Heard, Published, Uuid};
    use crate::store::SessionId;

    const EVENT: Event = Event::SessionEnded {
        session: SessionId::from_bytes([7; 16]),
    };

    #[tokio::test]
    async fn a_slow_subscriber_learns_of_its_gap() {
        let bus = Bus::new(Uuid::nil());
        let mut slow = bus.subscribe();
        for _ in 0..=CAPACITY {
            bus.send(Published {
                event: EVENT,
                note: None,
            });
        }
        assert_eq!(slow.hear().await, Heard::Gap);
        assert_eq!(slow.hear().await, Heard::Event(EVENT));
        drop(bus);
    }

    #[tokio::test]
    async fn an_event_that_comes_two_ways_is_heard_once() {
        let bus = Bus::new(Uuid::nil());
        let mut outgoing = bus.0.away.subscribe();
        let mut hearing = bus.subscribe();
        for note in [1, 1, 2] {
            let note = Some(note);
            bus.hear(Published { event: EVENT, note });
        }
        assert_eq!(hearing.hear().await, Heard::Event(EVENT));
        assert_eq!(hearing.hear().await, Heard::Event(EVENT));
        assert!(hearing.0.try_recv().is_err());
        assert!(
            outgoing.try_recv().is_err(),
            "what was heard is not sent on"
        );
    }
}
