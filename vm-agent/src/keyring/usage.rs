//! How much of a key the proxy has used, and what its budget still allows.

use std::time::Duration;

use keyferry_protocol::wire::Budget;

/// The uses of one key since the agent started, and those of this minute and these 24 hours.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Requests that were given the key.
    pub requests: u64,
    /// Bytes sent to its hosts.
    pub sent: u64,
    /// Bytes received from them.
    pub received: u64,
    minute: Window,
    day: Window,
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
    /// Requests in 24 hours.
    RequestsPerDay,
    /// Bytes in 24 hours.
    BytesPerDay,
}

/// What was used since `begun`, which is the first use.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    begun: Option<Duration>,
    requests: u64,
    bytes: u64,
}

impl Usage {
    /// Takes one request from the budget, at this time of the boot clock.
    pub fn spend(&mut self, budget: Budget, now: Duration) -> Result<(), Spent> {
        self.minute.move_on(MINUTE, now);
        self.day.move_on(DAY, now);
        let bounds = [
            (
                Bound::RequestsPerMinute,
                u64::from(budget.requests_per_minute),
                self.minute.requests,
                self.minute.ends(MINUTE, now),
            ),
            (
                Bound::RequestsPerDay,
                u64::from(budget.requests_per_day),
                self.day.requests,
                self.day.ends(DAY, now),
            ),
            (
                Bound::BytesPerDay,
                budget.bytes_per_day,
                self.day.bytes,
                self.day.ends(DAY, now),
            ),
        ];
        for (what, most, used, wait) in bounds {
            if most > 0 && used >= most {
                return Err(Spent { what, most, wait });
            }
        }
        self.requests += 1;
        self.minute.requests += 1;
        self.day.requests += 1;
        Ok(())
    }

    /// Counts what a request has moved.
    pub fn moved(&mut self, sent: u64, received: u64) {
        self.sent += sent;
        self.received += received;
        self.day.bytes += sent + received;
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

impl Window {
    fn move_on(&mut self, length: Duration, now: Duration) {
        let over = |begun| now.saturating_sub(begun) >= length;
        if self.begun.is_none_or(over) {
            *self = Self {
                begun: Some(now),
                ..Self::default()
            };
        }
    }

    fn ends(&self, length: Duration, now: Duration) -> Duration {
        (self.begun.unwrap_or(now) + length).saturating_sub(now)
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        // Of a machine that was started ten seconds ago.
        Duration::from_secs(10 + seconds)
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
        usage.moved(60, 39);
        usage.spend(budget, at(3600)).unwrap();
        usage.moved(0, 1);
        let spent = usage.spend(budget, at(7200)).unwrap_err();
        assert_eq!(spent.what, Bound::BytesPerDay);
        usage.spend(budget, at(24 * 3600)).unwrap();
        assert_eq!((usage.requests, usage.sent, usage.received), (3, 60, 40));
    }

    #[test]
    fn without_a_budget_nothing_is_bounded() {
        let mut usage = Usage::default();
        for _ in 0..10_000 {
            usage.spend(Budget::default(), at(0)).unwrap();
            usage.moved(1 << 40, 0);
        }
    }
}
