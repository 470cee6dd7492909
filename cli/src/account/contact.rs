//! Which server is meant, and whether it can be trusted with a password.

use std::io::{self, BufRead, IsTerminal, Write};

use hyper::Method;
use keyferry_sdk::tls::{ServerTrust, SpkiPin};

use crate::app::App;
use crate::arguments::Contact;
use crate::error::CliError;
use crate::rest::{Address, Ask, CertificateFiles, Rest, RestError, observed_pin};

/// The server, trusted by the given pin, by what was trusted before, by the system's roots, or by
/// the person at the terminal.
pub(super) async fn trusted_server(app: &App, contact: Contact) -> Result<Rest, CliError> {
    let last = app.session_file.read()?;
    let server = contact
        .server
        .or_else(|| last.as_ref().map(|it| it.server.clone()));
    let server = server.ok_or(CliError::NoTerminal("--server URL"))?;
    let last = last.filter(|it| it.server == server);
    let last = last.map(|last| last.rest());
    let shown = match (contact.client_certificate, contact.client_key) {
        (Some(certificate), Some(key)) => {
            Some(CertificateFiles::new(&certificate, &key).map_err(CliError::Input)?)
        }
        _ => last.as_ref().and_then(|last| last.shown().cloned()),
    };
    if let Some(pin) = contact.fingerprint {
        return Ok(Rest::new(server, ServerTrust::Pinned(pin)).showing(shown));
    }
    if let Some(last) = last {
        return Ok(last.showing(shown));
    }
    let rest = Rest::new(server, ServerTrust::System).showing(shown);
    match rest.exchange(Ask::new(Method::GET, "/health")).await {
        Ok(_) => Ok(rest),
        Err(RestError::OtherServer | RestError::Setup(_)) => ask_person(rest).await,
        Err(source) => Err(CliError::Unreachable {
            server: rest.address().clone(),
            source,
        }),
    }
}

async fn ask_person(rest: Rest) -> Result<Rest, CliError> {
    let server = rest.address();
    let pin = observed_pin(server)
        .await
        .map_err(|source| CliError::Unreachable {
            server: server.clone(),
            source,
        })?;
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(CliError::Unknown {
            server: server.clone(),
            pin,
        });
    }
    if confirmed(server, &pin).map_err(CliError::Input)? {
        let shown = rest.shown().cloned();
        Ok(Rest::new(server.clone(), ServerTrust::Pinned(pin)).showing(shown))
    } else {
        Err(CliError::NotConfirmed)
    }
}

fn confirmed(server: &Address, pin: &SpkiPin) -> io::Result<bool> {
    let mut terminal = io::stderr();
    writeln!(
        terminal,
        "{server} is not known here. It shows the fingerprint\n  {pin}"
    )?;
    writeln!(
        terminal,
        "Compare it with what the server printed at its start."
    )?;
    write!(terminal, "Is it the same? Type yes: ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
