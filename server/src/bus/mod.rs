//! What the parts of the server tell each other. Every event is a hint to read the database again,
//! so a lost one makes a reader late, never wrong.

use tokio::sync::broadcast;

use crate::store::{SessionId, TenantId, VmId};

/// Something changed in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A key of this tenant was put, rotated, revoked or deleted.
    KeysChanged {
        /// Whose keys.
        tenant: TenantId,
    },
    /// A VM was changed, cut off or told to wipe.
    VmChanged {
        /// Whose VM.
        tenant: TenantId,
        /// Which VM.
        vm: VmId,
    },
    /// A sign-in has ended.
    SessionEnded {
        /// Which one.
        session: SessionId,
    },
}

/// Carries events to every subscriber in this process.
#[derive(Clone)]
pub(crate) struct Bus(broadcast::Sender<Event>);

/// Hears every event from the moment of subscribing.
pub(crate) struct Subscriber(broadcast::Receiver<Event>);

/// What a subscriber hears.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// One event.
    Event(Event),
    /// Events were missed: read everything again.
    Gap,
    /// The server stops.
    Closed,
}

impl Bus {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }

    /// Tells everyone who listens; it is no fault if nobody does.
    pub(crate) fn publish(&self, event: Event) {
        let _ = self.0.send(event);
    }

    pub(crate) fn subscribe(&self) -> Subscriber {
        Subscriber(self.0.subscribe())
    }
}

impl Subscriber {
    /// Waits for what happens next. Dropping the future loses nothing.
    pub(crate) async fn hear(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(event) => Heard::Event(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Heard::Gap,
            Err(broadcast::error::RecvError::Closed) => Heard::Closed,
        }
    }
}

const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::{Bus, CAPACITY, Event, Heard};
    use crate::store::SessionId;

    #[tokio::test]
    async fn a_slow_subscriber_learns_of_its_gap() {
        let bus = Bus::new();
        let mut slow = bus.subscribe();
        let event = Event::SessionEnded {
            session: SessionId::from_bytes([7; 16]),
        };
        for _ in 0..=CAPACITY {
            bus.publish(event);
        }
        assert_eq!(slow.hear().await, Heard::Gap);
        assert_eq!(slow.hear().await, Heard::Event(event));
        drop(bus);
    }
}
