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
        let shown = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
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
        i64::try_from(parsed.unix_timestamp_nanos() / 1_000)
            .map(Self)
            .map_err(D::Error::custom)
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
    fn sums_never_wrap() {
        let last = UnixTime::from_microseconds(i64::MAX);
        assert_eq!(last + Duration::from_secs(1), last);
        assert_eq!(UnixTime::from_microseconds(5).since(last), Duration::ZERO);
    }
}
