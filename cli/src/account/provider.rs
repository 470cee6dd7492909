//! `keyferry login --provider`: a browser signs in, and this program gets the session.
//!
//! The browser is sent back to a port of this machine (RFC 8252 §7.3) with a code that is worth a
//! session only together with what this process alone knows.

use std::io::{self, Write};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use getrandom::SysRng;
use hyper::Method;
use rand_core::{Rng, UnwrapErr};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::rest::{Ask, Rest};
use crate::session::send;

/// The answer to a login by this provider.
pub(super) async fn sign_in_by(rest: &Rest, provider: &str) -> Result<Value, CliError> {
    must_be_known(rest, provider).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(CliError::Input)?;
    let port = listener.local_addr().map_err(CliError::Input)?.port();
    let verifier = verifier();
    let challenge = Base64UrlUnpadded::encode_string(&Sha256::digest(verifier.as_bytes()));
    let server = rest.address();
    let mut terminal = io::stderr();
    writeln!(
        terminal,
        "Open this address in a browser on this machine:\n  \
         {server}/auth/providers/{provider}/start?port={port}&challenge={challenge}"
    )
    .map_err(CliError::Output)?;
    let called = timeout(PATIENCE, wait(&listener)).await;
    let code = called.map_err(|_| CliError::Provider("nobody came back".to_owned()))??;
    let body = json!({ "code": code.as_str(), "verifier": verifier.as_str() }).to_string();
    let ask = Ask::new(Method::POST, "/auth/providers/exchange").json(Bytes::from(body));
    send(rest, ask).await
}

async fn must_be_known(rest: &Rest, provider: &str) -> Result<(), CliError> {
    let known = send(rest, Ask::new(Method::GET, "/auth/providers")).await?;
    let known = known.get("items").and_then(Value::as_array);
    let names: Vec<&str> = known
        .into_iter()
        .flatten()
        .filter_map(|one| one.get("name").and_then(Value::as_str))
        .collect();
    if names.contains(&provider) {
        return Ok(());
    }
    let names = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    Err(CliError::NoProvider(names))
}

/// Waits until the browser calls with a code, or with the reason why there is none.
async fn wait(listener: &TcpListener) -> Result<Zeroizing<String>, CliError> {
    loop {
        let (stream, _) = listener.accept().await.map_err(CliError::Input)?;
        // A call that is broken or about something else, such as an icon, is not the one.
        if let Ok(Ok(Some(outcome))) = timeout(HEAD_PATIENCE, hear(stream)).await {
            return outcome.map_err(CliError::Provider);
        }
    }
}

/// What one call says: a code, or why there is none.
async fn hear(mut stream: TcpStream) -> io::Result<Option<Result<Zeroizing<String>, String>>> {
    let mut head = Zeroizing::new(Vec::with_capacity(MAX_HEAD));
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD {
        let mut piece = Zeroizing::new([0; 1024]);
        match stream.read(&mut *piece).await? {
            0 => break,
            count => head.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
    }
    let outcome = outcome(&head);
    let (status, text) = match &outcome {
        Some(Ok(_)) => ("200 OK", "You are signed in. You can close this page."),
        Some(Err(_)) => ("200 OK", "The sign-in failed. The command line says why."),
        None => ("404 Not Found", ""),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(outcome)
}

/// `GET /?code=...` or `GET /?error=...`.
fn outcome(head: &[u8]) -> Option<Result<Zeroizing<String>, String>> {
    let line = std::str::from_utf8(head).ok()?.lines().next()?;
    let query = line.strip_prefix("GET /?")?.split(' ').next()?;
    match query.split_once('=')? {
        ("code", code) if is_plain(code) => Some(Ok(Zeroizing::new(code.to_owned()))),
        ("error", reason) if is_plain(reason) => Some(Err(reason.to_owned())),
        _ => None,
    }
}

fn is_plain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    text.len() <= 100 && text.bytes().all(plain)
}

fn verifier() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    UnwrapErr(SysRng).fill_bytes(&mut *bytes);
    Zeroizing::new(Base64UrlUnpadded::encode_string(&*bytes))
}

/// As long as the server waits.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::outcome;

    #[test]
    fn only_the_call_of_the_server_counts() {
        let said = |line: &str| {
            let outcome = outcome(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            outcome.map(|one| one.map(|code| code.to_string()))
        };
        assert_eq!(said("GET /?code=kfc_a-b"), Some(Ok("kfc_a-b".to_owned())));
        assert_eq!(
            said("GET /?error=account_exists"),
            Some(Err("account_exists".to_owned()))
        );
        for other in [
            "GET /favicon.ico",
            "POST /?code=a",
            "GET /?code=a&b=c",
            "GET /?x=a",
            "",
        ] {
            assert_eq!(said(other), None, "{other}");
        }
    }
}
