//! Time as both databases keep it: whole microseconds since 1970.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::ops::{Add, Sub};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since 1970, shown as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct UnixTime(i64);

impl UnixTime {
    /// A time from its count of microseconds.
    pub(crate) const fn from_microseconds(microseconds: i64) -> Self {
        Self(microseconds)
    }

    /// A time from whole seconds, as JWTs count them.
    pub(crate) const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// The count itself.
    pub(crate) const fn microseconds(self) -> i64 {
        self.0
    }

    /// Whole milliseconds, never before 1970.
    pub(crate) fn milliseconds(self) -> u64 {
        u64::try_from(self.0 / 1_000).unwrap_or(0)
    }

    /// Whole seconds, as JWTs count them.
    pub(crate) const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The last midnight of UTC.
    pub(crate) const fn start_of_day(self) -> Self {
        Self::from_seconds(self.seconds() - self.seconds().rem_euclid(24 * 3600))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl Sub<Duration> for UnixTime {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl Display for UnixTime {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Further away no date has four digits; nothing here is, but what was never to end.
        let near = self.0.clamp(FIRST, LAST);
        let shown = OffsetDateTime::from_unix_timestamp_nanos(i128::from(near) * 1_000)
            .map_err(|_| fmt::Error)?;
        let (date, hour, minute, second) =
            (shown.date(), shown.hour(), shown.minute(), shown.second());
        write!(
            f,
            "{date}T{hour:02}:{minute:02}:{second:02}.{:06}Z",
            shown.microsecond()
        )
    }
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = OffsetDateTime::parse(&text, &Rfc3339).map_err(D::Error::custom)?;
        i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1_000))
            .ok()
            .filter(|microseconds| (FIRST..=LAST).contains(microseconds))
            .map(Self)
            .ok_or_else(|| D::Error::custom("in UTC, the year has more than four digits"))
    }
}

impl JsonSchema for UnixTime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "UnixTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// The first and the last microsecond of the years 0000 to 9999 in UTC.
const FIRST: i64 = -62_167_219_200_000_000;
const LAST: i64 = 253_402_300_799_999_999;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::UnixTime;

    #[test]
    fn a_time_is_shown_in_utc_with_microseconds() {
        let time = UnixTime::from_microseconds(1_767_323_045_678_901);
        assert_eq!(time.to_string(), "2026-01-02T03:04:05.678901Z");
        let back: UnixTime = serde_json::from_str("\"2026-01-02T04:04:05.678901+01:00\"").unwrap();
        assert_eq!(back, time);
    }

    #[test]
    fn a_time_that_cannot_be_shown_in_utc_is_refused() {
        for text in [
            "9999-12-31T23:59:59-23:59",
            "0000-01-01T00:00:00+23:59",
            "10000-01-01T00:00:00Z",
        ] {
            let parsed = serde_json::from_str::<UnixTime>(&format!("\"{text}\""));
            assert!(parsed.is_err(), "{text}");
        }
        let last = "\"9999-12-31T23:59:59.999999Z\"";
        let parsed: UnixTime = serde_json::from_str(last).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), last);
        for far in [i64::MIN, i64::MAX] {
            let shown = serde_json::to_string(&UnixTime::from_microseconds(far)).unwrap();
            assert!(serde_json::from_str::<UnixTime>(&shown).is_ok(), "{shown}");
        }
    }

    #[test]
    fn sums_never_wrap() {
        let last = UnixTime::from_microseconds(i64::MAX);
        assert_eq!(last + Duration::from_secs(1), last);
        assert_eq!(UnixTime::from_microseconds(5).since(last), Duration::ZERO);
    }
}
