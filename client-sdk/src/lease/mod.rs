//! How long keys may stay without a word from the server (PROTOCOL.md §6).
//!
//! Measured on several clocks, whichever has run further: the monotonic one stands still while the
//! machine is suspended, the boot-time one while it is paused by its host, the host's never. That
//! they move apart shows it.

mod clock;
mod machine;

use std::time::Duration;

pub use clock::{Clock, Moment, SystemClock, now};
pub use machine::{HostView, Machine};

/// The lease and what has been seen of the clocks.
#[derive(Debug)]
pub struct Lease {
    granted: Option<Granted>,
    last_seen: Moment,
    last_host: Option<SeenHost>,
}

/// The host, and this machine's boot-time clock when it was looked at.
#[derive(Debug, Clone, Copy)]
struct SeenHost {
    host: HostView,
    boot: Duration,
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
    /// The machine was suspended, paused, restored or cloned since the last look: wipe, and shake
    /// hands anew.
    Jumped,
}

impl Lease {
    /// No lease yet.
    pub fn new(now: Moment) -> Self {
        Self {
            granted: None,
            last_seen: now,
            last_host: SeenHost::at(now),
        }
    }

    /// The server grants `length` from now on.
    pub fn renew(&mut self, length: Duration, now: Moment) {
        self.granted = Some(Granted { length, at: now });
    }

    /// The same, unless one is running.
    pub fn begin(&mut self, length: Duration, now: Moment) {
        if self.granted.is_none() {
            self.renew(length, now);
        }
    }

    /// Nothing is held any more.
    pub fn end(&mut self) {
        self.granted = None;
    }

    /// Whether keys may be held.
    pub fn is_running(&self) -> bool {
        self.granted.is_some()
    }

    /// The whole length, while there is one.
    pub fn length(&self) -> Option<Duration> {
        self.granted.map(|granted| granted.length)
    }

    /// Looks at the clocks, and remembers them for the next look.
    pub fn judge(&mut self, now: Moment) -> Verdict {
        let suspended = apart(now).abs_diff(apart(self.last_seen)) > JUMP;
        self.last_seen = now;
        if self.host_jumped(now) || suspended {
            return Verdict::Jumped;
        }
        self.left(now)
    }

    /// Looks at the host, if the moment shows it.
    fn host_jumped(&mut self, now: Moment) -> bool {
        let Some(seen) = SeenHost::at(now) else {
            return false;
        };
        let before = self.last_host.replace(seen);
        before.is_some_and(|before| seen.is_apart_from(&before))
    }

    /// What is left, without remembering anything.
    pub fn left(&self, now: Moment) -> Verdict {
        let Some(Granted { length, at }) = self.granted else {
            return Verdict::None;
        };
        let monotonic = now.monotonic.saturating_sub(at.monotonic);
        let boot = now.boot.saturating_sub(at.boot);
        let host = host_clock(now).zip(host_clock(at));
        let host = host.map_or(Duration::ZERO, |(now, at)| now.saturating_sub(at));
        match length.checked_sub(monotonic.max(boot).max(host)) {
            Some(left) if !left.is_zero() => Verdict::Left(left),
            _ => Verdict::Over,
        }
    }
}

impl SeenHost {
    fn at(moment: Moment) -> Option<Self> {
        let boot = moment.boot;
        moment.host.map(|host| Self { host, boot })
    }

    /// Another generation, or a clock that went at another pace than ours.
    fn is_apart_from(&self, before: &Self) -> bool {
        let clocks = self.host.clock.zip(before.host.clock);
        let apart = clocks.is_some_and(|(now, then)| {
            // now - then and boot - boot, without negative spans.
            (now + before.boot).abs_diff(then + self.boot) > JUMP
        });
        apart || self.host.generation != before.host.generation
    }
}

fn host_clock(moment: Moment) -> Option<Duration> {
    moment.host?.clock
}

/// How long the machine has been suspended in all.
fn apart(moment: Moment) -> Duration {
    moment.boot.saturating_sub(moment.monotonic)
}

/// The clocks are read one after the other, and the host's shows whole seconds; this much apart is
/// no accident.
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
            host: None,
        }
    }

    fn beside_host(monotonic: u64, clock: u64) -> Moment {
        let host = HostView {
            clock: Some(Duration::from_secs(clock)),
            generation: 0,
        };
        Moment {
            host: Some(host),
            ..moment(monotonic, 0)
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
    fn a_lease_begins_where_none_is_running() {
        let mut lease = Lease::new(moment(0, 0));
        lease.begin(LENGTH, moment(100, 0));
        lease.begin(LENGTH, moment(500, 0));
        assert_eq!(
            lease.judge(moment(600, 0)),
            Verdict::Left(Duration::from_secs(400))
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

    #[test]
    fn a_machine_that_its_host_paused_is_noticed_once() {
        let mut lease = leased(beside_host(100, 5000));
        assert_eq!(lease.judge(beside_host(101, 5031)), Verdict::Jumped);
        assert!(matches!(
            lease.judge(beside_host(102, 5032)),
            Verdict::Left(_)
        ));
    }

    #[test]
    fn a_restored_machine_is_noticed_by_its_hosts_clock() {
        let mut lease = leased(beside_host(100, 5000));
        lease.judge(beside_host(400, 5300));
        assert_eq!(lease.judge(beside_host(100, 9000)), Verdict::Jumped);
    }

    #[test]
    fn a_changed_generation_id_is_noticed_at_once() {
        let mut lease = leased(beside_host(100, 5000));
        let mut moment = beside_host(100, 5000);
        moment.host.as_mut().unwrap().generation = 1;
        assert_eq!(lease.judge(moment), Verdict::Jumped);
        assert!(matches!(lease.judge(moment), Verdict::Left(_)));
    }

    #[test]
    fn a_host_clock_of_whole_seconds_is_no_jump() {
        let mut lease = leased(beside_host(100, 5000));
        for (monotonic, clock) in [(101, 5002), (102, 5002), (3000, 7899), (3001, 7901)] {
            let verdict = lease.judge(beside_host(monotonic, clock));
            assert_ne!(verdict, Verdict::Jumped, "{monotonic} {clock}");
        }
    }

    #[test]
    fn a_look_that_leaves_out_the_host_forgets_nothing_of_it() {
        let mut lease = leased(beside_host(100, 5000));
        lease.judge(moment(101, 0));
        assert_eq!(lease.judge(beside_host(102, 5100)), Verdict::Jumped);
    }

    #[test]
    fn many_short_pauses_do_not_stretch_a_lease() {
        let mut lease = leased(beside_host(100, 5000));
        let end = (1..900).find(|second| {
            let moment = beside_host(100 + second, 5000 + 2 * second);
            lease.judge(moment) == Verdict::Over
        });
        assert_eq!(end, Some(450));
    }
}
