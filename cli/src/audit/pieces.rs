//! The tenant's events as lines, piece by piece, oldest first.

use bytes::Bytes;
use serde_json::Value;

use crate::app::App;
use crate::error::CliError;
use crate::output::cell;
use crate::rest::RestError;

/// What is left of an export.
pub(super) struct Pieces<'a> {
    app: &'a App,
    /// The place of the last event that was read.
    pub(super) after: u64,
}

/// Some lines that follow on each other.
pub(super) struct Piece {
    pub(super) lines: Bytes,
    pub(super) count: u64,
}

impl<'a> Pieces<'a> {
    pub(super) const fn after(app: &'a App, after: u64) -> Self {
        Self { app, after }
    }

    /// The next lines; none at the end. A long export outlives an access token, so that the
    /// session is taken anew each time.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, CliError> {
        let caller = self.app.signed_in_now().await?;
        let path = format!("/audit/export?after={}", self.after);
        let lines = caller.fetch(&path).await?;
        let whole = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let (mut count, mut last) = (0, None);
        for line in whole {
            (count, last) = (count + 1, Some(line));
        }
        let Some(last) = last else {
            return Ok(None);
        };
        let last = serde_json::from_slice(last)
            .ok()
            .and_then(|event| seq(&event));
        match last.filter(|seq| *seq > self.after && lines.ends_with(b"\n")) {
            Some(last) => self.after = last,
            None => return Err(caller.unreachable(RestError::Answer)),
        }
        Ok(Some(Piece { lines, count }))
    }
}

/// An event's place in the chain.
pub(super) fn seq(event: &Value) -> Option<u64> {
    cell(event, "seq").parse().ok()
}
