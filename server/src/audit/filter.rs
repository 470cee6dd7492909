//! Which events are asked for.

use uuid::Uuid;

use crate::error::ApiError;
use crate::page::Page;
use crate::query::decoded;
use crate::store::UnixTime;

/// What an event must be like; what is none does not matter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// How the action begins, such as `auth.`
    pub(crate) action: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) correlation: Option<Uuid>,
    /// Not before this.
    pub(crate) since: Option<UnixTime>,
    /// Before this.
    pub(crate) until: Option<UnixTime>,
}

impl Filter {
    /// The names of its parameters, and what each is.
    pub(crate) const PARAMETERS: [(&'static str, Option<&'static str>); 6] = [
        ("action", None),
        ("actor", None),
        ("subject", None),
        ("correlation", Some("uuid")),
        ("since", Some("date-time")),
        ("until", Some("date-time")),
    ];

    /// Parses a query string, which may ask for a piece of the list too.
    pub(crate) fn parse(query: Option<&str>) -> Result<(Self, Page), ApiError> {
        let mut filter = Self::default();
        let mut paging = Vec::new();
        for pair in query.unwrap_or_default().split('&') {
            let Some((name, value)) = pair.split_once('=') else {
                paging.push(pair);
                continue;
            };
            let text = || decoded(name, value);
            match name {
                "action" => filter.action = Some(text()?),
                "actor" => filter.actor = Some(text()?),
                "subject" => filter.subject = Some(text()?),
                "correlation" => filter.correlation = Some(correlation(&text()?)?),
                "since" => filter.since = Some(time(name, text()?)?),
                "until" => filter.until = Some(time(name, text()?)?),
                _ => paging.push(pair),
            }
        }
        Ok((filter, Page::parse(Some(&paging.join("&")))?))
    }
}

fn correlation(text: &str) -> Result<Uuid, ApiError> {
    text.parse()
        .map_err(|_| ApiError::invalid("correlation", "is a UUID"))
}

fn time(name: &str, text: String) -> Result<UnixTime, ApiError> {
    serde_json::from_value(text.into())
        .map_err(|_| ApiError::invalid(name, "is a time such as 2026-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::Filter;

    #[test]
    fn a_query_is_a_filter_and_a_page() {
        let query = "action=auth.&limit=7&since=2026-01-31T12:00:00%2B01:00&subject=a%20b";
        let (filter, page) = Filter::parse(Some(query)).unwrap();
        assert_eq!(page.limit, 7);
        assert_eq!(filter.action.as_deref(), Some("auth."));
        assert_eq!(filter.subject.as_deref(), Some("a b"));
        let since = filter.since.unwrap().to_string();
        assert_eq!(since, "2026-01-31T11:00:00.000000Z");
        assert_eq!(Filter::parse(None).unwrap().0, Filter::default());
    }

    #[test]
    fn a_wrong_filter_is_refused() {
        for query in [
            "since=yesterday",
            "correlation=7",
            "actor=%zz",
            "actor=%",
            "actor=",
            "subject=%00",
            "colour=red",
            "limit=0",
        ] {
            assert!(Filter::parse(Some(query)).is_err(), "{query}");
        }
    }
}
