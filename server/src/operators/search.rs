//! Which accounts or tenants an admin looks for.

use crate::error::ApiError;
use crate::page::Page;
use crate::query::decoded;

/// A piece of a list whose items contain a text, in whatever case.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) page: Page,
    /// For `LIKE ... ESCAPE '\'`, in lower case.
    pattern: String,
}

impl Search {
    /// The parameter's name.
    pub(crate) const PARAMETER: &'static str = "q";

    /// Parses a query string, which may ask for a piece of the list too.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut wanted = None;
        let mut paging = Vec::new();
        for pair in query.unwrap_or_default().split('&') {
            match pair.split_once('=') {
                Some((Self::PARAMETER, "")) => {}
                Some((Self::PARAMETER, text)) => wanted = Some(decoded(Self::PARAMETER, text)?),
                _ => paging.push(pair),
            }
        }
        let text = wanted.unwrap_or_default().replace('\\', "\\\\");
        let text = text.replace('%', "\\%").replace('_', "\\_");
        Ok(Self {
            page: Page::parse(Some(&paging.join("&")))?,
            pattern: format!("%{}%", text.to_lowercase()),
        })
    }

    /// What folded names must be like.
    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }
}

#[cfg(test)]
mod tests {
    use super::Search;

    #[test]
    fn a_text_is_looked_for_as_it_is() {
        let search = Search::parse(Some("limit=7&q=50%25_Off%5C")).unwrap();
        assert_eq!(search.page.limit, 7);
        assert_eq!(search.pattern(), "%50\\%\\_off\\\\%");
        for everything in [None, Some(""), Some("q=")] {
            assert_eq!(Search::parse(everything).unwrap().pattern(), "%%");
        }
    }

    #[test]
    fn a_wrong_search_is_refused() {
        for query in ["q=%zz", "q=%00", "limit=0", "name=ada"] {
            assert!(Search::parse(Some(query)).is_err(), "{query}");
        }
    }
}
