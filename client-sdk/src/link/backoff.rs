//! How long to wait before the next attempt.

use std::time::Duration;

use rand_core::CryptoRng;

/// Exponential, with full jitter: a server that comes back is not met by all agents at once.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait is up to `first`; none for a server that is away is over `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest: longest.max(first),
            failures: 0,
        }
    }

    /// The wait after one more failure.
    pub fn next(&mut self, rng: &mut (impl CryptoRng + ?Sized)) -> Duration {
        let ceiling = self
            .first
            .saturating_mul(1 << self.failures.min(20))
            .min(self.longest);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(fraction(rng))
    }

    /// The wait after a refusal, which asking again soon will not change: up to three times the
    /// longest.
    pub fn slow(&self, rng: &mut (impl CryptoRng + ?Sized)) -> Duration {
        let longest = self.longest.saturating_mul(3);
        longest / 2 + (longest / 2).mul_f64(fraction(rng))
    }

    /// A session has lasted: the next loss is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(FIRST, LONGEST)
    }
}

const FIRST: Duration = Duration::from_millis(100);
/// Who is back after an outage hears within this of what was revoked.
const LONGEST: Duration = Duration::from_secs(10);

/// Evenly between 0 and 1.
fn fraction(rng: &mut (impl CryptoRng + ?Sized)) -> f64 {
    f64::from(rng.next_u32()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> impl CryptoRng {
        rand_core::UnwrapErr(getrandom::SysRng)
    }

    fn backoff() -> Backoff {
        Backoff::default()
    }

    #[test]
    fn the_first_wait_is_at_most_a_tenth_of_a_second() {
        let longest = (0..1000).map(|_| backoff().next(&mut rng())).max().unwrap();
        assert!(longest <= Duration::from_millis(100) && longest > Duration::from_millis(50));
    }

    #[test]
    fn waits_grow_to_the_longest_and_no_further() {
        let mut waits = backoff();
        (0..40).for_each(|_| {
            waits.next(&mut rng());
        });
        let late: Vec<_> = (0..1000).map(|_| waits.next(&mut rng())).collect();
        assert!(late.iter().all(|wait| *wait <= Duration::from_secs(10)));
        assert!(late.iter().any(|wait| *wait > Duration::from_secs(7)));
        assert!(late.iter().any(|wait| *wait < Duration::from_secs(3)));
    }

    #[test]
    fn after_a_session_waits_are_short_again() {
        let mut waits = backoff();
        (0..40).for_each(|_| {
            waits.next(&mut rng());
        });
        waits.reset();
        assert!(waits.next(&mut rng()) <= Duration::from_millis(100));
    }

    #[test]
    fn a_refused_agent_asks_slowly() {
        for _ in 0..100 {
            let wait = backoff().slow(&mut rng());
            assert!((Duration::from_secs(15)..=Duration::from_secs(30)).contains(&wait));
        }
    }
}
