//! `keyferry-server openapi`: what the server speaks, for whoever makes a client.

use std::io::Write;

use super::Failure;
use crate::http;

/// Prints the document.
pub(super) fn print() -> Result<(), Failure> {
    let document = http::openapi();
    Ok(writeln!(std::io::stdout().lock(), "{document:#}")?)
}
