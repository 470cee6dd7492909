//! Reads what other servers, and the operator's commands, have noted in the database.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::warn;

use super::Event;
use crate::app::App;
use crate::store::{StoreError, StoredChange};

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
        let was_read = match failing {
            false => read(&app).await,
            // What was noted before the outage may be lost with it, and its numbers given out again.
            true => begin_anew(&app).await,
        };
        if let Err(cause) = &was_read
            && !failing
        {
            warn!(%cause, "what other servers did cannot be read; tried again");
        }
        failing = was_read.is_err();
    }
}

async fn read(app: &App) -> Result<(), StoreError> {
    let Some((floor, highest)) = app.bus.known(|known| known.bounds()) else {
        let latest = app.store.latest_change().await?;
        app.bus.known(|known| known.begin(latest));
        return Ok(());
    };
    // From the floor on, whose note is there unless it was swept, or numbers went back.
    let mut read = floor - 1;
    let mut unmet = 0;
    loop {
        let page = app.store.changes_after(read, PAGE).await?;
        for change in &page {
            unmet += i64::from(hear(app, change, unmet));
        }
        read = page.last().map_or(read, |last| last.id);
        if i64::try_from(page.len()).unwrap_or(PAGE) < PAGE {
            break;
        }
    }
    if unmet > PAGE {
        app.bus.tell_of_a_gap();
    }
    let latest = match read < floor {
        true => app.store.latest_change().await?,
        false => read,
    };
    if (1..highest).contains(&latest) {
        return begin_anew(app).await;
    }
    app.bus.known(|known| known.forget(Instant::now()));
    Ok(())
}

/// Whether a note was not known; of a flood, the first are told one by one.
fn hear(app: &App, change: &StoredChange, unmet: i64) -> bool {
    let new = app.bus.known(|known| known.meet(change.id, Instant::now()));
    if let (true, Some(event)) = (new && unmet < PAGE, Event::of(&change.note)) {
        app.bus.0.hearers.tell(event);
    }
    new
}

/// Takes the numbers as they are now, and has everybody read everything again.
async fn begin_anew(app: &App) -> Result<(), StoreError> {
    let latest = app.store.latest_change().await?;
    app.bus.known(|known| {
        *known = Known::default();
        known.begin(latest);
    });
    app.bus.tell_of_a_gap();
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

    /// The floor, and the highest number of all.
    fn bounds(&self) -> Option<(i64, i64)> {
        let floor = self.floor?;
        let highest = self.met.last_key_value().map(|(note, _)| *note);
        Some((floor, highest.unwrap_or(floor).max(floor)))
    }

    /// The last few are heard again, for what was noted before them may not be there yet.
    fn begin(&mut self, latest: i64) {
        self.floor = Some((latest - A_FEW).max(0));
    }

    /// Raises the floor over what is met without a gap, and to what has been known for longer than
    /// any transaction lasts.
    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.met.first_entry() {
            let follows = self.floor.is_some_and(|floor| *oldest.key() == floor + 1);
            if !follows && now.duration_since(*oldest.get()) < LONGEST_TRANSACTION {
                return;
            }
            let (note, _) = oldest.remove_entry();
            self.floor = self.floor.max(Some(note));
        }
    }
}

/// How late a server is that heard nothing through Redis.
const EVERY: Duration = Duration::from_millis(500);
/// So many are read at once; more that were not known are told as a gap.
const PAGE: i64 = 1_000;
const A_FEW: i64 = 100;
/// The database ends an idle transaction after 30 s and a statement after 10 s.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::{A_FEW, Known, LONGEST_TRANSACTION, PAGE, begin_anew, read};
    use crate::bus::{Event, Heard, Topic, commit};
    use crate::store::{SessionId, sql};
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
    fn nothing_is_kept_of_what_is_met_without_a_gap() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.begin(0);
        for note in [1, 2, 4] {
            assert!(known.meet(note, now));
        }
        known.forget(now);
        assert_eq!(known.bounds(), Some((2, 4)));
        assert!(known.meet(3, now), "its transaction ended later");
        known.forget(now);
        assert_eq!(known.bounds(), Some((4, 4)));
        assert!(known.met.is_empty());
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
        note(&server, PAGE + 1).await;
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().await, Heard::Gap);
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().now_or_never(), None);
    }

    #[tokio::test]
    async fn many_notes_that_are_known_are_no_gap() {
        let server = testing::server().await;
        read(&server.app).await.unwrap();
        // Another transaction has the first number, so that all above it stay in sight.
        number_from(&server, 2).await;
        for _ in 0..2 {
            note(&server, PAGE * 2 / 3).await;
            read(&server.app).await.unwrap();
        }
        let mut hearing = server.app.bus.subscribe(&[Topic::Session(SESSION)]);
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().now_or_never(), None);
        note_late(&server, 1).await;
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().now_or_never(), Some(Heard::Event(EVENT)));
    }

    #[tokio::test]
    async fn what_is_noted_after_a_flood_and_below_it_is_heard() {
        let server = testing::server().await;
        read(&server.app).await.unwrap();
        number_from(&server, A_FEW).await;
        note(&server, 2 * PAGE).await;
        read(&server.app).await.unwrap();
        let mut hearing = server.app.bus.subscribe(&[Topic::Session(SESSION)]);
        note_late(&server, 1).await;
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().now_or_never(), Some(Heard::Event(EVENT)));
    }

    #[tokio::test]
    async fn numbers_that_go_back_are_a_gap_and_deafen_nobody() {
        let server = testing::server().await;
        number_from(&server, 5_000).await;
        note(&server, 1).await;
        read(&server.app).await.unwrap();
        read(&server.app).await.unwrap();
        let mut hearing = server.app.bus.subscribe(&[Topic::Session(SESSION)]);
        const BROUGHT_BACK: &str = "DELETE FROM changes";
        sql!(server.app.store, query(BROUGHT_BACK).execute).unwrap();
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().now_or_never(), None, "notes are swept");
        number_from(&server, 3).await;
        note(&server, 1).await;
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().now_or_never(), Some(Heard::Gap));
        note(&server, 1).await;
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().now_or_never(), Some(Heard::Event(EVENT)));
    }

    #[tokio::test]
    async fn who_could_not_read_reads_everything_again() {
        let server = testing::server().await;
        note(&server, 3).await;
        read(&server.app).await.unwrap();
        read(&server.app).await.unwrap();
        // After the outage the same numbers are of other notes.
        const LOST: &str = "DELETE FROM changes WHERE id > 1";
        sql!(server.app.store, query(LOST).execute).unwrap();
        number_from(&server, 2).await;
        note(&server, 2).await;
        let mut hearing = server.app.bus.subscribe(&[Topic::Session(SESSION)]);
        begin_anew(&server.app).await.unwrap();
        assert_eq!(hearing.hear().now_or_never(), Some(Heard::Gap));
        read(&server.app).await.unwrap();
        assert_eq!(hearing.hear().now_or_never(), Some(Heard::Event(EVENT)));
    }

    /// A transaction that got its number before others ends.
    async fn note_late(server: &Server, number: i64) {
        const SQL: &str = "INSERT INTO changes (id, kind, session_id, at) \
            VALUES ($1, 'session', $2, 0)";
        sql!(server.app.store, query(SQL, number, SESSION).execute).unwrap();
    }

    /// The number that the next note gets.
    async fn number_from(server: &Server, next: i64) {
        const BEGIN: &str = "INSERT INTO sqlite_sequence (name, seq) SELECT 'changes', 0 \
            WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'changes')";
        const SQL: &str = "UPDATE sqlite_sequence SET seq = $1 WHERE name = 'changes'";
        sql!(server.app.store, query(BEGIN).execute).unwrap();
        sql!(server.app.store, query(SQL, next - 1).execute).unwrap();
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
