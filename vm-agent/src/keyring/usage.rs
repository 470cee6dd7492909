//! How much of a key the proxy has used, and what its budget still allows.

use std::time::Duration;

use keyferry_protocol::wire::Budget;

use keyferry_sdk::lease::Moment;

/// The uses of one key since the agent started, and what counts for its budget.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Requests that were given the key.
    pub requests: u64,
    /// Bytes sent to its hosts.
    pub sent: u64,
    /// Bytes received from them.
    pub received: u64,
    minute: Minute,
    day: Day,
}

/// Which part of a budget is used up, and when there is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Which.
    pub what: Bound,
    /// How much it is.
    pub most: u64,
    /// Until then.
    pub wait: Duration,
}

/// A part of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Requests in a minute.
    RequestsPerMinute,
    /// Requests on a day of UTC.
    RequestsPerDay,
    /// Bytes on a day of UTC.
    BytesPerDay,
}

/// Begins with the first request in it, on the boot clock.
#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    begun: Option<Duration>,
    requests: u64,
}

/// A day of UTC, so that the server means the same one.
#[derive(Debug, Clone, Copy, Default)]
struct Day {
    /// Days since 1970.
    number: u64,
    requests: u64,
    bytes: u64,
}

impl Usage {
    /// Takes one request from the budget.
    pub fn spend(&mut self, budget: Budget, now: Moment) -> Result<(), Spent> {
        self.minute.move_on(now.boot);
        self.day.move_on(now.wall);
        let (minute, day) = (self.minute.left(now.boot), left_of_day(now.wall));
        let bounds = [
            (
                Bound::RequestsPerMinute,
                u64::from(budget.requests_per_minute),
                self.minute.requests,
                minute,
            ),
            (
                Bound::RequestsPerDay,
                u64::from(budget.requests_per_day),
                self.day.requests,
                day,
            ),
            (
                Bound::BytesPerDay,
                budget.bytes_per_day,
                self.day.bytes,
                day,
            ),
        ];
        for (what, most, used, wait) in bounds {
            if most > 0 && used >= most {
                return Err(Spent { what, most, wait });
            }
        }
        self.requests += 1;
        self.minute.requests += 1;
        self.day.requests = self.day.requests.saturating_add(1);
        Ok(())
    }

    /// Counts what a request has moved.
    pub fn moved(&mut self, (sent, received): (u64, u64), wall: Duration) {
        self.day.move_on(wall);
        self.sent += sent;
        self.received += received;
        self.day.bytes = self.day.bytes.saturating_add(sent + received);
    }

    /// Somebody knows of so many requests and bytes on the day of this time; these are among them.
    pub fn at_least(&mut self, (requests, bytes): (u64, u64), wall: Duration) {
        self.day.move_on(wall);
        self.day.requests = self.day.requests.max(requests);
        self.day.bytes = self.day.bytes.max(bytes);
    }
}

impl Bound {
    /// The stable code, for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "budget_requests_per_minute",
            Self::RequestsPerDay => "budget_requests_per_day",
            Self::BytesPerDay => "budget_bytes_per_day",
        }
    }
}

impl Minute {
    fn move_on(&mut self, boot: Duration) {
        let over = |begun| boot.saturating_sub(begun) >= MINUTE;
        if self.begun.is_none_or(over) {
            *self = Self {
                begun: Some(boot),
                requests: 0,
            };
        }
    }

    fn left(&self, boot: Duration) -> Duration {
        (self.begun.unwrap_or(boot) + MINUTE).saturating_sub(boot)
    }
}

impl Day {
    fn move_on(&mut self, wall: Duration) {
        let number = wall.as_secs() / DAY.as_secs();
        if self.number != number {
            *self = Self {
                number,
                ..Self::default()
            };
        }
    }
}

fn left_of_day(wall: Duration) -> Duration {
    DAY - Duration::from_secs(wall.as_secs() % DAY.as_secs())
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine that was started ten seconds ago, an hour before midnight.
    fn at(seconds: u64) -> Moment {
        let boot = Duration::from_secs(10 + seconds);
        Moment {
            monotonic: boot,
            boot,
            wall: Duration::from_secs(20_000 * 24 * 3600 - 3600 + seconds),
            host: None,
        }
    }

    #[test]
    fn a_minute_has_its_requests_and_the_next_one_has_new_ones() {
        let budget = Budget {
            requests_per_minute: 2,
            ..Budget::default()
        };
        let mut usage = Usage::default();
        assert_eq!(usage.spend(budget, at(0)), Ok(()));
        assert_eq!(usage.spend(budget, at(50)), Ok(()));
        let spent = usage.spend(budget, at(55)).unwrap_err();
        assert_eq!((spent.what, spent.most), (Bound::RequestsPerMinute, 2));
        assert_eq!(spent.wait, Duration::from_secs(5));
        assert_eq!(usage.spend(budget, at(60)), Ok(()));
        assert_eq!(usage.requests, 3);
    }

    #[test]
    fn a_day_has_its_requests_and_bytes() {
        let budget = Budget {
            requests_per_day: 3,
            bytes_per_day: 100,
            ..Budget::default()
        };
        let mut usage = Usage::default();
        usage.spend(budget, at(0)).unwrap();
        usage.moved((60, 39), at(0).wall);
        usage.spend(budget, at(600)).unwrap();
        usage.moved((0, 1), at(600).wall);
        let spent = usage.spend(budget, at(1200)).unwrap_err();
        assert_eq!(spent.what, Bound::BytesPerDay);
        assert_eq!(spent.wait, Duration::from_secs(2400), "until midnight");
        usage.spend(budget, at(3600)).unwrap();
        assert_eq!((usage.requests, usage.sent, usage.received), (3, 60, 40));
    }

    #[test]
    fn bytes_of_a_request_that_ends_after_midnight_count_for_the_new_day() {
        let budget = Budget {
            bytes_per_day: 100,
            ..Budget::default()
        };
        let mut usage = Usage::default();
        usage.spend(budget, at(0)).unwrap();
        usage.moved((100, 0), at(3600).wall);
        let spent = usage.spend(budget, at(3601)).unwrap_err();
        assert_eq!(spent.what, Bound::BytesPerDay);
    }

    #[test]
    fn a_day_goes_on_with_what_was_used_before_a_restart() {
        let budget = Budget {
            requests_per_day: 3,
            ..Budget::default()
        };
        let mut usage = Usage::default();
        usage.at_least((2, 0), at(0).wall);
        usage.spend(budget, at(1)).unwrap();
        assert!(usage.spend(budget, at(2)).is_err());
        // Told again, these are the same requests.
        usage.at_least((3, 0), at(3).wall);
        assert!(usage.spend(budget, at(4)).is_err());
        usage.at_least((u64::MAX, u64::MAX), at(5).wall);
        usage.moved((1, 1), at(5).wall);
        usage.spend(budget, at(3600)).unwrap();
        assert_eq!(usage.requests, 2, "what this run has done is its own count");
    }

    #[test]
    fn without_a_budget_nothing_is_bounded() {
        let mut usage = Usage::default();
        for _ in 0..10_000 {
            usage.spend(Budget::default(), at(0)).unwrap();
            usage.moved((1 << 40, 0), at(0).wall);
        }
    }
}
