//! `keyferry enrolments`.

use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::all_items;
use crate::session::SignedIn;

/// Lists the machines that named this tenant, and those that it has decided.
pub(crate) async fn list(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, "/enrolments").await?;
    let rows: Vec<_> = items.iter().map(row).collect();
    let headings = ["CODE", "STATUS", "NAME", "ADDRESS", "UNTIL", "KEY"];
    let human = if rows.is_empty() {
        EMPTY.into()
    } else {
        table(headings, &rows)
    };
    Ok(Reply::new(human, json!({ "items": items })))
}

fn row(enrolment: &Value) -> [String; 6] {
    [
        cell(enrolment, "code"),
        cell(enrolment, "status"),
        cell(enrolment, "name"),
        cell(enrolment, "address"),
        time_cell(enrolment, "expires_at"),
        cell(enrolment, "fingerprint"),
    ]
}

const EMPTY: &str = "no machine waits for this tenant; one that names no tenant is approved by the \
                     code on its screen: `keyferry approve CODE`";
