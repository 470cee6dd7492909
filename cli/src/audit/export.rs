//! `keyferry audit export`.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde_json::json;
use zeroize::Zeroizing;

use super::pieces::Pieces;
use crate::app::App;
use crate::error::CliError;
use crate::output::Reply;

/// Writes every event after this place, to a file or to standard output.
pub(crate) async fn export(app: &App, path: Option<&Path>, after: u64) -> Result<Reply, CliError> {
    let mut pieces = Pieces::after(app, after);
    let Some(path) = path else {
        let count = write_all(&mut pieces, &mut io::stdout().lock()).await?;
        tell_progress(count, "\n");
        return Ok(Reply::bytes(Zeroizing::default()));
    };
    let broken = |source| CliError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::options().write(true).create_new(true).open(path);
    let mut file = file.map_err(broken)?;
    let count = write_all(&mut pieces, &mut file)
        .await
        .map_err(|error| match error {
            CliError::Output(source) => broken(source),
            other => other,
        })?;
    file.sync_all().map_err(broken)?;
    tell_progress(count, "\n");
    let human = format!("{count} events are in {}", path.display());
    let json = json!({ "exported": count, "last_seq": pieces.after, "output": path });
    Ok(Reply::new(human, json))
}

async fn write_all(pieces: &mut Pieces<'_>, output: &mut impl Write) -> Result<u64, CliError> {
    let mut count = 0;
    while let Some(piece) = pieces.next().await? {
        output.write_all(&piece.lines).map_err(CliError::Output)?;
        count += piece.count;
        tell_progress(count, "");
    }
    output.flush().map_err(CliError::Output)?;
    Ok(count)
}

/// For somebody who watches.
fn tell_progress(count: u64, end: &str) {
    let mut terminal = io::stderr();
    if terminal.is_terminal() {
        let _ = write!(terminal, "\r{count} events{end}");
    }
}
