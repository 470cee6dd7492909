//! `keyferry read`.

use std::io::{self, IsTerminal};

use keyferry_sdk::Client;
use zeroize::Zeroizing;

use crate::arguments::Read;
use crate::error::CliError;
use crate::output::Reply;

/// Writes a key's current value, and nothing else, to standard output.
pub(crate) async fn read(arguments: &Read) -> Result<Reply, CliError> {
    if io::stdout().is_terminal() && !arguments.force {
        return Err(CliError::OutputIsTerminal);
    }
    let client = Client::connect_to(&arguments.agent.socket).await?;
    let key = client.key(arguments.key.name.as_str()).await?;
    // The kernel cannot read from the key's own page: a copy that is wiped goes out.
    let value = key.expose(|bytes| Zeroizing::new(bytes.to_vec()))?;
    Ok(Reply::bytes(value))
}
