//! Reads what other servers, and the operator's commands, have noted in the database.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::warn;

use super::{Event, Published};
use crate::app::App;
use crate::store::StoreError;

/// Reads until the server stops.
pub(crate) async fn follow(app: App) {
    let mut round = interval(EVERY);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = round.tick() => {}
            () = app.stop.requested() => return,
        }
        match read(&app).await {
            Ok(()) => failing = false,
            Err(cause) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(%cause, "what other servers did cannot be read; tried again");
                }
            }
        }
    }
}

async fn read(app: &App) -> Result<(), StoreError> {
    let Some(floor) = app.bus.known(|known| known.floor) else {
        let latest = app.store.latest_change().await?;
        app.bus.known(|known| known.begin(latest));
        return Ok(());
    };
    let changes = app.store.changes_after(floor, PAGE).await?;
    for change in &changes {
        if let Some(event) = Event::of(&change.note) {
            let note = Some(change.id);
            app.bus.hear(Published { event, note });
        }
    }
    let now = Instant::now();
    match changes.last() {
        Some(last) if changes.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX) => {
            app.bus.known(|known| known.skip_to(last.id));
            app.bus.0.hearers.tell_of_a_gap();
        }
        _ => app.bus.known(|known| known.forget(now)),
    }
    Ok(())
}

/// Which notes have been heard of.
#[derive(Default)]
pub(super) struct Known {
    /// Everything up to here; none before the first look.
    floor: Option<i64>,
    /// What is above it, and since when. A number may be missing for as long as its transaction
    /// lasts.
    met: BTreeMap<i64, Instant>,
}

impl Known {
    /// Whether this note was not known.
    pub(super) fn meet(&mut self, note: i64, now: Instant) -> bool {
        if self.floor.is_some_and(|floor| note <= floor) || self.met.contains_key(&note) {
            return false;
        }
        self.met.insert(note, now);
        true
    }

    /// The last few are heard again, for what was noted before them may not be there yet.
    fn begin(&mut self, latest: i64) {
        self.floor = Some((latest - A_FEW).max(0));
    }

    /// Raises the floor to what has been known for longer than any transaction lasts.
    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.met.first_entry() {
            if now.duration_since(*oldest.get()) < LONGEST_TRANSACTION {
                return;
            }
            let (note, _) = oldest.remove_entry();
            self.floor = self.floor.max(Some(note));
        }
    }

    /// What is far below was missed. What is a little below may not be there yet, as at the begin.
    fn skip_to(&mut self, note: i64) {
        let floor = note - A_FEW;
        self.floor = self.floor.max(Some(floor));
        self.met = self.met.split_off(&(floor + 1));
    }
}

/// How late a server is that heard nothing through Redis.
const EVERY: Duration = Duration::from_millis(500);
/// More than this at once is told as a gap.
const PAGE: i64 = 1_000;
const A_FEW: i64 = 100;
/// The database ends an idle transaction after 30 s and a statement after 10 s.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::{Known, LONGEST_TRANSACTION, PAGE, read};
    use crate::bus::{Event, Heard, Topic, commit};
    use crate::store::SessionId;
    use crate::testing::{self, Server};
    use futures_util::FutureExt;
    use tokio::time::Instant;

    const SESSION: SessionId = SessionId::from_bytes([7; 16]);
    const EVENT: Event = Event::SessionEnded { session: SESSION };

    #[test]
    fn a_late_number_is_met_as_long_as_a_transaction_may_last() {
        let (mut known, begin) = (Known::default(), Instant::now());
        known.begin(0);
        assert!(known.meet(2, begin));
        known.forget(begin);
        assert!(known.meet(1, begin), "its transaction ended later");
        assert!(!known.meet(1, begin));
        known.forget(begin + LONGEST_TRANSACTION);
        assert!(!known.meet(1, begin) && !known.meet(2, begin));
        assert!(known.met.is_empty());
        assert!(known.meet(3, begin));
    }

    #[test]
    fn a_number_that_is_late_in_a_flood_is_met_all_the_same() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.begin(0);
        for note in (1..=PAGE).filter(|note| *note != PAGE - 5) {
            assert!(known.meet(note, now));
        }
        known.skip_to(PAGE);
        assert!(known.meet(PAGE - 5, now), "its transaction ended later");
        assert!(!known.meet(PAGE - 4, now) && !known.meet(1, now));
    }

    #[tokio::test]
    async fn what_another_server_noted_is_heard_once() {
        let server = testing::server().await;
        read(&server.app).await.unwrap();
        let mut hearing = server.app.bus.subscribe(&[Topic::Session(SESSION)]);
        note(&server, 1).await;
        read(&server.app).await.unwrap();
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().await, Heard::Event(EVENT));
        assert_eq!(hearing.hear().now_or_never(), None);
    }

    #[tokio::test]
    async fn what_this_server_did_is_not_heard_again() {
        let server = testing::server().await;
        read(&server.app).await.unwrap();
        let mut hearing = server.app.bus.subscribe(&[Topic::Session(SESSION)]);
        let change = server.app.store.begin().await.unwrap();
        commit(&server.app, change, &[EVENT]).await.unwrap();
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().await, Heard::Event(EVENT));
        assert_eq!(hearing.hear().now_or_never(), None);
    }

    #[tokio::test]
    async fn a_flood_is_a_gap() {
        let server = testing::server().await;
        read(&server.app).await.unwrap();
        let mut hearing = server.app.bus.subscribe(&[Topic::Session(SESSION)]);
        note(&server, PAGE).await;
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().await, Heard::Gap);
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().now_or_never(), None);
    }

    /// As another server would.
    async fn note(server: &Server, times: i64) {
        let store = &server.app.store;
        let mut change = store.begin().await.unwrap();
        for _ in 0..times {
            let now = server.app.clock.now();
            change.note_change(&EVENT.note(), now).await.unwrap();
        }
        change.commit().await.unwrap();
    }
}
