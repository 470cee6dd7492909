//! Whether a row of the other system is in use there, by everything that its table says of it.

use super::layout::Wanted;
use crate::store::UnixTime;

/// What tells of it, and how systems usually call it. Several of one row count together.
pub(super) const STATES: Wanted = &[
    ("active", &["is_active", "active", "is_enabled", "enabled"]),
    ("status", &["status", "state"]),
    (
        "disabled",
        &[
            "is_disabled",
            "disabled",
            "disabled_at",
            "is_blocked",
            "blocked",
            "is_banned",
            "banned",
            "is_suspended",
            "suspended",
        ],
    ),
    ("revoked", &["is_revoked", "revoked", "revoked_at"]),
    ("deleted", &["is_deleted", "deleted", "deleted_at"]),
    (
        "expires_at",
        &[
            "expires_at",
            "expires",
            "expires_on",
            "expiry",
            "expiry_date",
            "expiration",
            "expiration_date",
            "valid_until",
        ],
    ),
];

/// What one column says.
pub(super) struct Told {
    pub(super) field: &'static str,
    pub(super) column: String,
    pub(super) value: Option<String>,
}

/// What all of them say together; reasons name the column.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    InUse { until: Option<UnixTime> },
    Closed(String),
    Deleted(String),
    Unclear(String),
}

/// What one of them says.
enum Word {
    InUse,
    Until(UnixTime),
    Closed,
    Deleted,
    Unclear,
}

impl Standing {
    /// The gravest of what is told: what cannot be understood may be graver than anything.
    pub(super) fn of(told: &[Told], now: UnixTime) -> Self {
        let mut standing = Self::InUse { until: None };
        for one in told {
            let is = || format!("its {} is {}", one.column, shown(one.value.as_deref()));
            let next = match one.word() {
                Word::InUse => continue,
                Word::Until(end) if end > now => {
                    let Self::InUse { until } = &mut standing else {
                        continue;
                    };
                    *until = Some(until.map_or(end, |earlier| earlier.min(end)));
                    continue;
                }
                Word::Until(end) => Self::Closed(format!("its {} is over: {end}", one.column)),
                Word::Closed => Self::Closed(is()),
                Word::Deleted => Self::Deleted(is()),
                Word::Unclear => Self::Unclear(format!("{}, which tells neither way", is())),
            };
            if next.rank() > standing.rank() {
                standing = next;
            }
        }
        standing
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::InUse { .. } => 0,
            Self::Closed(_) => 1,
            Self::Deleted(_) => 2,
            Self::Unclear(_) => 3,
        }
    }
}

impl Told {
    fn word(&self) -> Word {
        let text = self.value.as_deref().map(|text| text.trim().to_lowercase());
        match (self.field, text.as_deref()) {
            ("active" | "status", None) => Word::Unclear,
            (_, None) => Word::InUse,
            ("expires_at", Some(end)) => end.parse().map_or(Word::Unclear, |microseconds| {
                Word::Until(UnixTime::from_microseconds(microseconds))
            }),
            ("active" | "status", Some(text)) if DELETED.contains(&text) => Word::Deleted,
            ("active" | "status", Some(text)) if IN_USE.contains(&text) => Word::InUse,
            ("active" | "status", Some(text)) if CLOSED.contains(&text) => Word::Closed,
            // A status that is a number may mean anything.
            ("status", Some("0" | "1")) => Word::Unclear,
            ("active", Some(text)) => match yes_or_no(text) {
                Some(true) => Word::InUse,
                Some(false) => Word::Closed,
                None => Word::Unclear,
            },
            (field, Some(text)) => match (yes_or_no(text), field) {
                (Some(true), "status") | (Some(false), "disabled" | "revoked" | "deleted") => {
                    Word::InUse
                }
                (Some(true), "deleted") => Word::Deleted,
                (Some(_), _) => Word::Closed,
                (None, _) => Word::Unclear,
            },
        }
    }
}

/// A word for yes or no, in any case.
pub(super) fn yes_or_no(text: &str) -> Option<bool> {
    let text = text.trim().to_lowercase();
    match text.as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Somebody else's text, as a report shows it.
pub(super) fn shown(text: Option<&str>) -> String {
    let Some(text) = text else {
        return "empty".to_owned();
    };
    let short: String = text.chars().take(MOST_SHOWN).collect();
    let more = if short.len() < text.len() { "..." } else { "" };
    format!("{short:?}{more}")
}

const IN_USE: [&str; 6] = ["active", "enabled", "valid", "ok", "live", "normal"];
const CLOSED: [&str; 11] = [
    "inactive",
    "disabled",
    "deactivated",
    "revoked",
    "expired",
    "suspended",
    "blocked",
    "banned",
    "closed",
    "archived",
    "cancelled",
];
const DELETED: [&str; 2] = ["deleted", "removed"];
const MOST_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_000);

    fn standing(told: &[(&'static str, Option<&str>)]) -> Standing {
        let told: Vec<Told> = told
            .iter()
            .map(|(field, value)| Told {
                field,
                column: (*field).to_owned(),
                value: value.map(ToOwned::to_owned),
            })
            .collect();
        Standing::of(&told, NOW)
    }

    #[test]
    fn a_row_is_in_use_where_everything_says_so() {
        for (field, value) in [
            ("active", Some("True")),
            ("active", Some(" ACTIVE ")),
            ("active", Some("1")),
            ("status", Some("Active")),
            ("status", Some("true")),
            ("disabled", Some("False")),
            ("disabled", None),
            ("revoked", Some("0")),
            ("deleted", Some("no")),
            ("expires_at", None),
        ] {
            let all = standing(&[(field, value)]);
            assert_eq!(all, Standing::InUse { until: None }, "{field} {value:?}");
        }
    }

    #[test]
    fn one_word_against_it_is_enough() {
        for (field, value) in [
            ("active", "FALSE"),
            ("active", "inactive"),
            ("active", "0"),
            ("status", "Revoked"),
            ("status", "f"),
            ("disabled", "Yes"),
            ("revoked", "t"),
            ("expires_at", "1000000000"),
        ] {
            let all = standing(&[("active", Some("true")), (field, Some(value))]);
            assert!(
                matches!(all, Standing::Closed(_)),
                "{field} {value}: {all:?}"
            );
        }
        for (field, value) in [("deleted", "true"), ("status", "DELETED")] {
            let all = standing(&[(field, Some(value)), ("active", Some("false"))]);
            assert!(
                matches!(all, Standing::Deleted(_)),
                "{field} {value}: {all:?}"
            );
        }
    }

    #[test]
    fn what_says_neither_counts_for_more_than_what_is_said_elsewhere() {
        for (field, value) in [
            ("active", None),
            ("active", Some("")),
            ("active", Some("2")),
            ("status", None),
            ("status", Some("1")),
            ("status", Some("pending")),
            ("disabled", Some("maybe")),
            ("revoked", Some("2024-01-01")),
            ("deleted", Some("")),
            ("expires_at", Some("2024-01-01")),
        ] {
            let all = standing(&[(field, value), ("revoked", Some("true"))]);
            assert!(
                matches!(all, Standing::Unclear(_)),
                "{field} {value:?}: {all:?}"
            );
        }
    }

    #[test]
    fn the_earliest_end_counts() {
        let ends = ["3000000000", "2000000000", "4000000000"];
        let ends = ends.map(|end| ("expires_at", Some(end)));
        let until = Some(UnixTime::from_seconds(2_000));
        assert_eq!(standing(&ends), Standing::InUse { until });
    }

    #[test]
    fn what_is_shown_is_short_and_cannot_move_the_cursor() {
        assert_eq!(shown(None), "empty");
        assert_eq!(shown(Some("a\u{1b}[2J")), "\"a\\u{1b}[2J\"");
        let long = shown(Some(&"x".repeat(70)));
        assert_eq!(long, format!("\"{}\"...", "x".repeat(60)));
    }
}
