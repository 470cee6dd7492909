//! The three clocks of the agent, handed in so that tests can move them.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// One look at all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Stands still while the machine is suspended.
    pub monotonic: Duration,
    /// Runs on while the machine is suspended.
    pub boot: Duration,
    /// Since 1970, as this machine believes.
    pub wall: Duration,
}

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Moment;
}

/// The kernel's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment {
            monotonic: since_zero(clock_gettime(ClockId::Monotonic)),
            boot: since_zero(clock_gettime(ClockId::Boottime)),
            wall: since_zero(clock_gettime(ClockId::Realtime)),
        }
    }
}

/// A time before 1970 counts as 1970.
fn since_zero(time: Timespec) -> Duration {
    Duration::try_from(time).unwrap_or_default()
}
