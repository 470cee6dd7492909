//! Lists that come in pages.

use hyper::Method;
use serde_json::Value;

use crate::error::CliError;
use crate::session::SignedIn;

/// Every item of a list, page by page.
pub(crate) async fn all_items(caller: &SignedIn, path: &str) -> Result<Vec<Value>, CliError> {
    let mut items = Vec::new();
    let mut cursor = None;
    loop {
        let query = match &cursor {
            None => format!("{path}?limit=200"),
            Some(cursor) => format!("{path}?limit=200&cursor={cursor}"),
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
