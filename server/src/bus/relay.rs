//! Carries events through Redis, to whoever listens there.

use std::time::Duration;

use redis::RedisError;
use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use super::{Event, Published};
use crate::app::App;
use crate::cache::{self, Cache, Hearing};

/// Keeps the line to Redis, and what goes over it, until the server stops.
pub(crate) async fn relay(app: App, cache: Cache) {
    let mut outgoing = app.bus.0.away.subscribe();
    let (mut wait, mut told) = (FIRST_WAIT, false);
    loop {
        let stretch = async {
            let hearing = cache.connect().await?;
            (wait, told) = (FIRST_WAIT, false);
            info!("connected to Redis");
            Err::<(), RedisError>(carry(&app, &cache, hearing, &mut outgoing).await)
        };
        let ended = tokio::select! {
            ended = stretch => ended,
            () = app.stop.requested() => return,
        };
        cache.hang_up();
        if let (Err(cause), false) = (ended, std::mem::replace(&mut told, true)) {
            warn!(%cause, "Redis does not answer: this server counts by itself until it does");
        }
        sleep(wait).await;
        wait = (2 * wait).min(LONGEST_WAIT);
    }
}

/// Why the line is lost.
async fn carry(
    app: &App,
    cache: &Cache,
    mut hearing: Hearing,
    outgoing: &mut broadcast::Receiver<Published>,
) -> RedisError {
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            heard = hearing.hear() => match heard {
                cache::Heard::Message(text) => take(app, &text),
                cache::Heard::Lost(cause) => return cause,
            },
            // What there was no room for is read from the notes.
            Ok(Published { event, note }) = outgoing.recv() => {
                cache.publish(&event.message((app.bus.0.process, note))).await;
            }
            _ = pulse.tick() => {
                if let Err(cause) = cache.feel_pulse(&mut hearing).await {
                    return cause;
                }
            }
            cause = cache.failed() => return cause,
        }
    }
}

/// What this process itself has published comes back, too.
fn take(app: &App, message: &str) {
    if let Some((origin, note, event)) = Event::parse(message)
        && origin != app.bus.0.process
    {
        app.bus.hear(Published { event, note });
    }
}

/// A Redis that is silent for longer is taken for lost.
const PULSE: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
