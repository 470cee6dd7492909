//! `keyferry audit`: what happened in the tenant, for those who may read it.

mod export;
mod list;
mod pieces;
mod verify;

use crate::app::App;
use crate::arguments::Audit;
use crate::error::CliError;
use crate::events::Form;
use crate::output::Reply;

/// Runs one of the commands.
pub(crate) async fn run(app: &App, command: Audit, form: Form) -> Result<Reply, CliError> {
    match command {
        Audit::List(it) => list::list(app, &it).await,
        Audit::Export { output, after } => export::export(app, output.as_deref(), after).await,
        Audit::Verify { export } => verify::verify(app, export.as_deref(), form).await,
    }
}
