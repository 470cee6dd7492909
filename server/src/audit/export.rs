//! Events to keep elsewhere: one line of JSON each, oldest first.

use std::io::{self, Write};

use super::list::Event;
use crate::app::App;
use crate::error::ApiError;
use crate::sessions::SignedIn;
use crate::store::{ChainId, Store, StoreError};

/// Lines of JSON.
pub(crate) struct Lines(pub(crate) Vec<u8>);

/// The `seq` of the last event that the caller has.
pub(crate) struct After(i64);

impl After {
    /// Parses the query string of an export.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        match query.unwrap_or_default().split_once('=') {
            None if query.unwrap_or_default().is_empty() => Ok(Self(0)),
            Some(("after", seq)) => seq
                .parse()
                .map(Self)
                .map_err(|_| ApiError::invalid("after", "is the seq of an event")),
            _ => Err(ApiError::invalid("query", "only after is known")),
        }
    }
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("the audit cannot be read")]
    Store(#[from] StoreError),
    #[error("the export cannot be written")]
    Output(#[from] io::Error),
}

/// A piece of the tenant's events. The next piece comes after the `seq` of the last line; no line
/// is the end.
pub(crate) async fn export(app: &App, caller: &SignedIn, after: After) -> Result<Lines, ApiError> {
    let chain = ChainId::of(Some(caller.tenant_id()));
    let mut lines = Vec::new();
    let wrote = write_some(&app.store, chain, (after.0, PIECE), &mut lines).await;
    wrote.map_err(|cause| match cause {
        ExportError::Store(cause) => cause.into(),
        ExportError::Output(cause) => ApiError::internal(cause),
    })?;
    Ok(Lines(lines))
}

/// Every event of every chain; `progress` hears how many there were so far.
pub(crate) async fn export_all(
    store: &Store,
    output: &mut impl Write,
    progress: impl Fn(u64),
) -> Result<u64, ExportError> {
    let mut count = 0;
    for head in store.audit_heads().await? {
        let mut after = head.pruned.seq;
        while let Some((last, some)) =
            write_some(store, head.end.chain, (after, PIECE), output).await?
        {
            after = last;
            count += some;
            progress(some);
        }
    }
    Ok(count)
}

/// The last place that was written, and how many events were.
async fn write_some(
    store: &Store,
    chain: ChainId,
    (after, rows): (i64, i64),
    output: &mut impl Write,
) -> Result<Option<(i64, u64)>, ExportError> {
    let rows = store.audit_after(chain, after, rows).await?;
    let Some(last) = rows.last().map(|row| row.seq) else {
        return Ok(None);
    };
    let count = rows.len() as u64;
    for row in rows {
        let tenant = row.event.tenant_id;
        let event = Event::of(row, chain);
        let mut line = serde_json::to_value(&event).map_err(io::Error::from)?;
        if let Some(members) = line.as_object_mut() {
            members.insert("tenant_id".to_owned(), serde_json::json!(tenant));
        }
        writeln!(output, "{line}")?;
    }
    Ok(Some((last, count)))
}

const PIECE: i64 = 1_000;
