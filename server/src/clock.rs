//! The time, handed in, so that tests can move it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::store::UnixTime;

/// Tells the time.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> UnixTime + Send + Sync>);

impl Clock {
    /// The machine's own clock.
    pub(crate) fn system() -> Self {
        Self(Arc::new(system_time))
    }

    pub(crate) fn now(&self) -> UnixTime {
        (self.0)()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clock is where the time comes from"
)]
fn system_time() -> UnixTime {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    UnixTime::from_microseconds(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The hands of a clock that stands still until a test moves it.
#[cfg(test)]
#[derive(Clone)]
pub(crate) struct Hands(Arc<std::sync::atomic::AtomicI64>);

#[cfg(test)]
impl Hands {
    /// A clock that stands at the machine's time.
    pub(crate) fn standing() -> (Self, Clock) {
        let hands = Self(Arc::new(system_time().microseconds().into()));
        let shown = hands.clone();
        (hands, Clock(Arc::new(move || shown.read())))
    }

    pub(crate) fn advance(&self, span: Duration) {
        let step = i64::try_from(span.as_micros()).unwrap();
        self.0.fetch_add(step, std::sync::atomic::Ordering::SeqCst);
    }

    fn read(&self) -> UnixTime {
        UnixTime::from_microseconds(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}
