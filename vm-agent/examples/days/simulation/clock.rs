//! The clocks of a machine that is suspended, paused by its host, and restored from a copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyferry_sdk::lease::{Clock, HostView, Moment};
use tokio::time::Instant;

/// Runs with tokio's clock, which stands while somebody works and jumps when everybody waits.
#[derive(Clone)]
pub(crate) struct Machine {
    begun: Instant,
    apart: Arc<Apart>,
}

#[derive(Default)]
struct Apart {
    suspended: AtomicU64,
    paused: AtomicU64,
    generation: AtomicU64,
}

impl Machine {
    pub(crate) fn started_now() -> Self {
        Self {
            begun: Instant::now(),
            apart: Arc::default(),
        }
    }

    /// What a clock on the wall of the host shows, since the start.
    pub(crate) fn host_time(&self) -> Duration {
        self.boot() + millis(&self.apart.paused)
    }

    /// The machine sleeps, and knows it.
    pub(crate) fn suspend(&self, span: Duration) {
        add(&self.apart.suspended, span);
    }

    /// Its host stops it; only the host's clock goes on.
    pub(crate) fn pause(&self, span: Duration) {
        add(&self.apart.paused, span);
    }

    /// It is a copy now.
    pub(crate) fn restore(&self) {
        self.apart.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn boot(&self) -> Duration {
        self.begun.elapsed() + millis(&self.apart.suspended)
    }

    /// The machine's own clock on the wall, since 1970.
    pub(crate) fn wall(&self) -> Duration {
        EPOCH + self.boot()
    }
}

impl Clock for Machine {
    fn now(&self) -> Moment {
        Moment {
            monotonic: UPTIME + self.begun.elapsed(),
            boot: UPTIME + self.boot(),
            wall: self.wall(),
            host: None,
        }
    }

    fn look(&self) -> Moment {
        let whole = Duration::from_secs((EPOCH + self.host_time()).as_secs());
        let host = HostView {
            clock: Some(whole),
            generation: self.apart.generation.load(Ordering::SeqCst),
        };
        Moment {
            host: Some(host),
            ..self.now()
        }
    }
}

fn millis(part: &AtomicU64) -> Duration {
    Duration::from_millis(part.load(Ordering::SeqCst))
}

fn add(part: &AtomicU64, span: Duration) {
    let span = u64::try_from(span.as_millis()).expect("a span of hours");
    part.fetch_add(span, Ordering::SeqCst);
}

const UPTIME: Duration = Duration::from_secs(1000);
const EPOCH: Duration = Duration::from_secs(1_800_000_000);
