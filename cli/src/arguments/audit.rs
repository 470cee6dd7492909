//! What happened: `keyferry audit`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// See [`super::Command::Audit`].
#[derive(Subcommand)]
pub enum Audit {
    /// List what happened in your tenant, newest first.
    List(AuditList),
    /// Write every event as one line of JSON, oldest first.
    Export {
        /// Write to this file, which must not exist, instead of standard output.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Only what came after the event with this place in the chain.
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
    },
    /// Look whether events were changed, removed, moved or added; exits 1 when they were.
    ///
    /// The chain is made with a key that only the server has, so the server computes it anew. What
    /// an export has that you made earlier is compared with what the server says today: it cannot
    /// rewrite what you hold.
    Verify {
        /// An earlier export of this tenant's events.
        #[arg(long, value_name = "FILE")]
        export: Option<PathBuf>,
    },
}

/// Which events.
#[derive(Args)]
pub struct AuditList {
    /// How the action begins, such as `key.` or `auth.login`.
    #[arg(long)]
    pub(crate) action: Option<String>,
    /// Who did it, such as `user:ID` or `vm:ID`.
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// What it was done to: a key's name, an id.
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// The request or agent session that it belongs to.
    #[arg(long, value_name = "UUID")]
    pub(crate) correlation: Option<Uuid>,
    /// Not before this: `2026-01-31`, `2026-01-31T12:00:00Z`, or `90m`, `24h`, `7d` ago.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// Before this.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Moment>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    /// Go on where an earlier list ended.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

/// A time, as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// This one.
    At(OffsetDateTime),
    /// So long before now.
    Ago(Duration),
}

impl Moment {
    /// The time itself, as the server reads it.
    pub(crate) fn text(self, now: OffsetDateTime) -> Option<String> {
        let at = match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub(ago)?,
        };
        at.format(&Rfc3339).ok()
    }
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let midnight = || OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339);
        if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| midnight()) {
            return Ok(Self::At(at));
        }
        let unit = text.chars().last().map(|unit| match unit {
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => 0,
        });
        let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
        let seconds = unit.filter(|seconds| *seconds > 0).and_then(|seconds| {
            let number: u32 = number.parse().ok()?;
            Some(i64::from(number) * seconds)
        });
        seconds
            .map(|seconds| Self::Ago(Duration::seconds(seconds)))
            .ok_or("is a time such as 2026-01-31, 2026-01-31T12:00:00Z, 90m, 24h or 7d")
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::Moment;

    #[test]
    fn a_moment_is_a_day_a_time_or_so_long_ago() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let told = |text: &str| text.parse::<Moment>().unwrap().text(now).unwrap();
        assert_eq!(told("2026-01-31"), "2026-01-31T00:00:00Z");
        assert_eq!(
            told("2026-01-31T12:00:00+01:00"),
            "2026-01-31T12:00:00+01:00"
        );
        assert_eq!(told("90m"), "2027-01-15T06:30:00Z");
        assert_eq!(told("1d"), "2027-01-14T08:00:00Z");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for wrong in [
            "",
            "yesterday",
            "7",
            "d",
            "-7d",
            "7w",
            "2026-13-01",
            "4294967296d",
            "é",
        ] {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
        }
        let long_ago: Moment = "4294967295d".parse().unwrap();
        assert_eq!(long_ago.text(OffsetDateTime::UNIX_EPOCH), None);
    }
}
