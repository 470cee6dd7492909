//! When each session was last used: gathered here and written down now and then, so that looking
//! at a key does not write to the database.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::app::App;
use crate::store::{SessionId, StoreError, UnixTime};

/// Sessions that were used and not yet written down.
#[derive(Default)]
pub(crate) struct SeenSessions(Mutex<HashMap<SessionId, UnixTime>>);

impl SeenSessions {
    pub(super) fn note(&self, session: SessionId, now: UnixTime) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(session, now);
    }

    fn take(&self) -> HashMap<SessionId, UnixTime> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes down what was gathered.
pub(super) async fn write_down(app: &App) -> Result<(), StoreError> {
    let mut seen: Vec<_> = app.seen_sessions.take().into_iter().collect();
    // The same order everywhere, so that two servers do not wait for each other.
    seen.sort_unstable();
    for some in seen.chunks(ROWS) {
        let mut change = app.store.begin().await?;
        for (session, at) in some {
            change.note_session_seen(*session, *at).await?;
        }
        change.commit().await?;
    }
    Ok(())
}

const ROWS: usize = 500;
