//! The clocks, handed in so that tests can move them.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::{HostView, Machine};

/// One look at all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Stands still while the machine is suspended.
    pub monotonic: Duration,
    /// Runs on while the machine is suspended.
    pub boot: Duration,
    /// Since 1970, as this machine believes.
    pub wall: Duration,
    /// What the world outside of this machine shows; `None` when it was not asked.
    pub host: Option<HostView>,
}

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now, by the machine's own clocks: no system call.
    fn now(&self) -> Moment;
    /// Now, and what the host shows.
    fn look(&self) -> Moment;
}

/// The clocks of the kernel and of the machine.
#[derive(Debug)]
pub struct SystemClock(Machine);

impl SystemClock {
    /// Reads the host's clock and signals from this machine's devices.
    pub fn new(machine: Machine) -> Self {
        Self(machine)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        now()
    }

    fn look(&self) -> Moment {
        Moment {
            host: Some(self.0.look()),
            ..now()
        }
    }
}

/// What the kernel's clocks say.
pub fn now() -> Moment {
    Moment {
        monotonic: since_zero(clock_gettime(ClockId::Monotonic)),
        boot: since_zero(clock_gettime(ClockId::Boottime)),
        wall: since_zero(clock_gettime(ClockId::Realtime)),
        host: None,
    }
}

/// A time before 1970 counts as 1970.
fn since_zero(time: Timespec) -> Duration {
    Duration::try_from(time).unwrap_or_default()
}
