//! Numbers that have bounds.

use std::time::Duration;

use serde::Deserialize;

/// 1 to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Count<const MOST: u64>(pub(super) u64);

impl<const MOST: u64> Count<MOST> {
    /// As a number of things.
    pub fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// As a number of seconds.
    pub fn seconds(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// As a number of milliseconds.
    pub fn milliseconds(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<const MOST: u64> TryFrom<u64> for Count<MOST> {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        let known = (1..=MOST).contains(&number);
        known
            .then_some(Self(number))
            .ok_or_else(|| format!("{number} is not between 1 and {MOST}"))
    }
}
