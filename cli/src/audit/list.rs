//! `keyferry audit list`.

use hyper::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::arguments::AuditList;
use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest::segment;

/// Lists the events that were asked for, newest first.
pub(crate) async fn list(app: &App, wanted: &AuditList) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    let filter = query(app, wanted)?;
    let (mut items, mut cursor) = (Vec::new(), wanted.cursor.clone());
    let most = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
    loop {
        let size = most.saturating_sub(items.len()).min(PAGE);
        let mut path = format!("/audit?limit={size}{filter}");
        if let Some(cursor) = &cursor {
            path.push_str(&format!("&cursor={}", segment(cursor)));
        }
        let mut page = caller.ask(Method::GET, &path).await?;
        if let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) {
            items.extend(more);
        }
        let next = page.get("next_cursor").and_then(Value::as_str);
        cursor = next.map(str::to_owned);
        if cursor.is_none() || items.len() >= most {
            break;
        }
    }
    let human = described(&items, cursor.as_deref());
    Ok(Reply::new(
        human,
        json!({ "items": items, "next_cursor": cursor }),
    ))
}

/// The filters as members of a query string.
fn query(app: &App, wanted: &AuditList) -> Result<String, CliError> {
    let moment = |moment: Option<crate::arguments::Moment>| match moment {
        Some(moment) => moment.text(app.now).map(Some).ok_or(CliError::TooLongAgo),
        None => Ok(None),
    };
    let members = [
        ("action", wanted.action.clone()),
        ("actor", wanted.actor.clone()),
        ("subject", wanted.subject.clone()),
        ("correlation", wanted.correlation.map(|id| id.to_string())),
        ("since", moment(wanted.since)?),
        ("until", moment(wanted.until)?),
    ];
    let members = members.into_iter();
    let members = members.filter_map(|(name, text)| Some(format!("&{name}={}", segment(&text?))));
    Ok(members.collect())
}

fn described(items: &[Value], cursor: Option<&str>) -> String {
    if items.is_empty() {
        return "no such events".to_owned();
    }
    let row = |event: &Value| {
        [
            time_cell(event, "at"),
            cell(event, "seq"),
            cell(event, "actor"),
            cell(event, "action"),
            cell(event, "subject"),
            cell(event, "detail"),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let mut human = table(["TIME", "SEQ", "WHO", "WHAT", "TO WHAT", "DETAIL"], &rows);
    if let Some(cursor) = cursor {
        human.push_str(&format!("There is more: add --cursor {cursor}"));
    }
    human
}

/// The most that the server gives at once.
const PAGE: usize = 200;
