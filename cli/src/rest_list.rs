//! Lists that come in pages.

use hyper::Method;
use serde_json::Value;

use crate::error::CliError;
use crate::rest::segment;
use crate::session::SignedIn;

/// Every item of a list.
pub(crate) async fn all_items(caller: &SignedIn, path: &str) -> Result<Vec<Value>, CliError> {
    found_items(caller, path, None).await
}

/// Every item of a list that contains a text, page by page.
pub(crate) async fn found_items(
    caller: &SignedIn,
    path: &str,
    search: Option<&str>,
) -> Result<Vec<Value>, CliError> {
    let search = search.map_or_else(String::new, |text| format!("&q={}", segment(text)));
    let mut items = Vec::new();
    let mut cursor = None;
    loop {
        let query = match &cursor {
            None => format!("{path}?limit=200{search}"),
            Some(cursor) => format!("{path}?limit=200{search}&cursor={cursor}"),
        };
        let mut page = caller.ask(Method::GET, &query).await?;
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        cursor = page
            .get("next_cursor")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if cursor.is_none() {
            return Ok(items);
        }
    }
}

/// A kind of thing that people call by name.
pub(crate) struct Kind {
    /// Where it is listed.
    pub(crate) path: &'static str,
    /// The members that are names.
    pub(crate) names: &'static [&'static str],
    /// What a person calls it.
    pub(crate) called: &'static str,
    /// The command that lists it.
    pub(crate) listed_by: &'static str,
}

/// The one thing with this name or id; with this name in another case, where there is no such.
pub(crate) async fn find_item(
    caller: &SignedIn,
    kind: &Kind,
    wanted: &str,
) -> Result<Value, CliError> {
    let items = all_items(caller, kind.path).await?;
    let called = |item: &Value, same: fn(&str, &str) -> bool| {
        let mut names = ["id"].iter().chain(kind.names);
        names.any(|name| {
            let text = item.get(*name).and_then(Value::as_str);
            text.is_some_and(|text| same(text, wanted))
        })
    };
    let mut found: Vec<&Value> = items.iter().filter(|item| called(item, str::eq)).collect();
    if found.is_empty() {
        let alike = |item: &&Value| called(item, str::eq_ignore_ascii_case);
        found = items.iter().filter(alike).collect();
    }
    match (found.pop(), found.is_empty()) {
        (Some(item), true) => Ok(item.clone()),
        (None, _) => Err(CliError::NoSuch {
            called: kind.called,
            wanted: wanted.to_owned(),
            listed_by: kind.listed_by,
        }),
        (Some(_), false) => Err(CliError::Several {
            called: kind.called,
            wanted: wanted.to_owned(),
        }),
    }
}
