//! How long keys may stay without a word from the server (PROTOCOL.md §6).
//!
//! Measured on two clocks, whichever has run further: the monotonic one stands still while the
//! machine is suspended, the boot-time one does not. That they move apart shows the suspension.

use std::time::Duration;

use crate::clock::Moment;

/// The lease and what has been seen of the clocks.
#[derive(Debug)]
pub struct Lease {
    granted: Option<Granted>,
    last_seen: Moment,
}

#[derive(Debug, Clone, Copy)]
struct Granted {
    length: Duration,
    at: Moment,
}

/// What a look at the clocks says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is held on a lease.
    None,
    /// The keys may stay for this long.
    Left(Duration),
    /// The lease has ended: wipe.
    Over,
    /// The machine was suspended since the last look: wipe, and shake hands anew.
    Jumped,
}

impl Lease {
    /// No lease yet.
    pub fn new(now: Moment) -> Self {
        Self {
            granted: None,
            last_seen: now,
        }
    }

    /// The server grants `length` from now on.
    pub fn renew(&mut self, length: Duration, now: Moment) {
        self.granted = Some(Granted { length, at: now });
    }

    /// Nothing is held any more.
    pub fn end(&mut self) {
        self.granted = None;
    }

    /// The whole length, while there is one.
    pub fn length(&self) -> Option<Duration> {
        self.granted.map(|granted| granted.length)
    }

    /// Looks at the clocks, and remembers them for the next look.
    pub fn judge(&mut self, now: Moment) -> Verdict {
        let jumped = apart(now).abs_diff(apart(self.last_seen)) > JUMP;
        self.last_seen = now;
        if jumped {
            return Verdict::Jumped;
        }
        self.left(now)
    }

    /// What is left, without remembering anything.
    pub fn left(&self, now: Moment) -> Verdict {
        let Some(Granted { length, at }) = self.granted else {
            return Verdict::None;
        };
        let monotonic = now.monotonic.saturating_sub(at.monotonic);
        let boot = now.boot.saturating_sub(at.boot);
        match length.checked_sub(monotonic.max(boot)) {
            Some(left) if !left.is_zero() => Verdict::Left(left),
            _ => Verdict::Over,
        }
    }
}

/// How long the machine has been suspended in all.
fn apart(moment: Moment) -> Duration {
    moment.boot.saturating_sub(moment.monotonic)
}

/// The two clocks are read one after the other; this much apart is no accident.
const JUMP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(900);

    fn moment(monotonic: u64, suspended: u64) -> Moment {
        Moment {
            monotonic: Duration::from_secs(monotonic),
            boot: Duration::from_secs(monotonic + suspended),
            wall: Duration::ZERO,
        }
    }

    fn leased(at: Moment) -> Lease {
        let mut lease = Lease::new(at);
        lease.renew(LENGTH, at);
        lease
    }

    #[test]
    fn without_a_lease_nothing_is_over() {
        assert_eq!(
            Lease::new(moment(0, 0)).judge(moment(1_000_000, 0)),
            Verdict::None
        );
    }

    #[test]
    fn a_lease_ends_to_the_second() {
        let mut lease = leased(moment(100, 0));
        assert_eq!(
            lease.judge(moment(999, 0)),
            Verdict::Left(Duration::from_secs(1))
        );
        assert_eq!(lease.judge(moment(1000, 0)), Verdict::Over);
    }

    #[test]
    fn a_renewed_lease_counts_from_its_renewal() {
        let mut lease = leased(moment(100, 0));
        lease.renew(LENGTH, moment(900, 0));
        assert_eq!(
            lease.judge(moment(1100, 0)),
            Verdict::Left(Duration::from_secs(700))
        );
    }

    #[test]
    fn an_ended_lease_has_nothing_left_to_end() {
        let mut lease = leased(moment(100, 0));
        lease.end();
        assert_eq!(lease.judge(moment(5000, 0)), Verdict::None);
    }

    #[test]
    fn a_suspended_machine_is_noticed_once() {
        let mut lease = leased(moment(100, 0));
        assert_eq!(lease.judge(moment(110, 30)), Verdict::Jumped);
        assert_eq!(
            lease.judge(moment(111, 30)),
            Verdict::Left(Duration::from_secs(859))
        );
    }

    #[test]
    fn time_in_suspension_counts_towards_the_lease() {
        let mut lease = leased(moment(100, 0));
        assert_eq!(lease.judge(moment(110, 895)), Verdict::Jumped);
        assert_eq!(lease.judge(moment(111, 895)), Verdict::Over);
    }

    #[test]
    fn a_clock_that_comes_back_from_a_snapshot_is_noticed() {
        let mut lease = leased(moment(100, 50));
        assert_eq!(lease.judge(moment(101, 0)), Verdict::Jumped);
    }

    #[test]
    fn the_time_between_two_readings_is_no_suspension() {
        let mut lease = leased(moment(100, 0));
        assert!(matches!(lease.judge(moment(110, 2)), Verdict::Left(_)));
    }
}
