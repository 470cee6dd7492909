//! Lists in pieces: how many items, and after which one.

use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ApiError;

/// Which piece of a list is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// At most so many items.
    pub(crate) limit: u16,
    /// Only items that sort after this one.
    pub(crate) after: Option<String>,
}

/// A piece of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ListOf{T}")]
pub(crate) struct List<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

impl Page {
    /// Parses the query string of a list request.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut page = Self {
            limit: 50,
            after: None,
        };
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            match pair.split_once('=') {
                Some(("limit", text)) => {
                    let limit = text.parse().ok().filter(|limit| (1..=200).contains(limit));
                    page.limit = limit.ok_or_else(|| ApiError::invalid("limit", "is 1 to 200"))?;
                }
                Some(("cursor", text)) => page.after = Some(open_cursor(text)?),
                _ => {
                    return Err(ApiError::invalid(
                        "query",
                        "only limit and cursor are known",
                    ));
                }
            }
        }
        Ok(page)
    }

    /// The id after which a list goes on that sorts by ids.
    pub(crate) fn after_id<T: FromStr>(&self) -> Result<Option<T>, ApiError> {
        let id = self.after.as_deref().map(str::parse).transpose();
        id.map_err(|_| ApiError::invalid("cursor", "is not one that a list gave out"))
    }

    /// The id after which a list that is ordered by ids goes on.
    pub(crate) fn after_id_or_first<T: FromStr>(&self) -> Result<T, ApiError> {
        let text = self.after.as_deref().unwrap_or(NIL);
        text.parse()
            .map_err(|_| ApiError::invalid("cursor", "is not one of this list"))
    }

    /// How many rows to read, so that one more tells whether the list goes on.
    pub(crate) fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

impl<T> List<T> {
    /// A list that is never long.
    pub(crate) const fn whole(items: Vec<T>) -> Self {
        Self {
            items,
            next_cursor: None,
        }
    }

    /// Makes a piece of `items`, which were read with [`Page::rows`] as the limit.
    pub(crate) fn new(mut items: Vec<T>, page: &Page, sorts_by: impl Fn(&T) -> String) -> Self {
        let goes_on = items.len() > usize::from(page.limit);
        items.truncate(page.limit.into());
        let last = items.last().filter(|_| goes_on);
        let next_cursor =
            last.map(|item| Base64UrlUnpadded::encode_string(sorts_by(item).as_bytes()));
        Self { items, next_cursor }
    }
}

/// The id before all others.
const NIL: &str = "00000000-0000-0000-0000-000000000000";

fn open_cursor(text: &str) -> Result<String, ApiError> {
    Base64UrlUnpadded::decode_vec(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|place| !place.contains(char::is_control))
        .ok_or_else(|| ApiError::invalid("cursor", "is not one that a list gave out"))
}

#[cfg(test)]
mod tests {
    use super::{List, Page};

    #[test]
    fn a_cursor_leads_to_the_next_piece() {
        let first = Page::parse(Some("limit=2")).unwrap();
        let list = List::new(vec!["a", "b", "c"], &first, |item| (*item).to_owned());
        assert_eq!(list.items, ["a", "b"]);
        let query = format!("cursor={}", list.next_cursor.unwrap());
        assert_eq!(
            Page::parse(Some(&query)).unwrap().after.as_deref(),
            Some("b")
        );
    }

    #[test]
    fn the_last_piece_has_no_cursor() {
        let page = Page::parse(None).unwrap();
        assert!(
            List::new(vec!["a"], &page, |item| (*item).to_owned())
                .next_cursor
                .is_none()
        );
    }

    #[test]
    fn a_wrong_query_is_refused() {
        for query in [
            "limit=0",
            "limit=201",
            "limit=x",
            "cursor=%%",
            "cursor=YQBi", // a, NUL, b
            "offset=3",
        ] {
            assert!(Page::parse(Some(query)).is_err(), "{query}");
        }
    }
}
