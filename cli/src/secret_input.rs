//! Passwords and key values, from a terminal without echo or from standard input.

use std::io::{self, IsTerminal, Read};

use keyferry_protocol::memory::{Arena, LockedBox, MAX_VALUE};
use zeroize::{Zeroize, Zeroizing};

use crate::error::CliError;

/// A password, for one request.
pub(crate) type Password = Zeroizing<String>;

/// Where a password comes from.
#[derive(Clone, Copy)]
pub(crate) enum PasswordSource {
    /// A terminal, once.
    Prompt,
    /// A terminal, twice, because it is new.
    PromptTwice,
    /// All of standard input, but for a line end at its end.
    Stdin,
}

/// Reads a password.
pub(crate) fn password(source: PasswordSource) -> Result<Password, CliError> {
    match source {
        PasswordSource::Stdin => {
            let line = read_all(MAX_PASSWORD_INPUT)?;
            let line = trim_line_end(&line);
            let text = std::str::from_utf8(line)
                .map_err(|_| CliError::SecretInput("the password must be UTF-8"))?;
            Ok(Zeroizing::new(text.to_owned()))
        }
        PasswordSource::Prompt => prompt("Password: "),
        PasswordSource::PromptTwice => {
            let password = prompt("New password: ")?;
            if *password == *prompt("Again: ")? {
                Ok(password)
            } else {
                Err(CliError::SecretInput("the two passwords differ"))
            }
        }
    }
}

/// Reads one secret for each prompt: from the terminal, or a line each of standard input. A last
/// one that is missing there comes back empty.
pub(crate) fn secrets<const N: usize>(
    prompts: [&'static str; N],
    source: PasswordSource,
) -> Result<[Password; N], CliError> {
    let mut secrets = std::array::from_fn(|_| Zeroizing::new(String::new()));
    if !matches!(source, PasswordSource::Stdin) {
        for (secret, text) in secrets.iter_mut().zip(prompts) {
            *secret = prompt(text)?;
        }
        return Ok(secrets);
    }
    let input = read_all(MAX_PASSWORD_INPUT)?;
    let text = std::str::from_utf8(trim_line_end(&input))
        .map_err(|_| CliError::SecretInput("standard input must be UTF-8"))?;
    let mut lines = text.split('\n');
    for (secret, line) in secrets.iter_mut().zip(&mut lines) {
        line.trim_end_matches('\r').clone_into(secret);
    }
    if lines.next().is_some() {
        return Err(CliError::SecretInput("standard input has too many lines"));
    }
    Ok(secrets)
}

/// Reads a code, which is asked for where there is a terminal.
pub(crate) fn code() -> Result<Password, CliError> {
    token("Code: ")
}

/// Reads something short and secret, which is asked for where there is a terminal.
pub(crate) fn token(text: &'static str) -> Result<Password, CliError> {
    let source = if io::stdin().is_terminal() {
        PasswordSource::Prompt
    } else {
        PasswordSource::Stdin
    };
    let [token] = secrets([text], source)?;
    Ok(token)
}

/// Reads a key's value into locked memory; a line end after it is not part of it.
pub(crate) fn key_value(arena: &Arena) -> Result<LockedBox, CliError> {
    if io::stdin().is_terminal() {
        return locked(arena, prompt("Value: ")?.as_bytes());
    }
    let input = read_all(MAX_VALUE + 2)?;
    locked(arena, trim_line_end(&input))
}

fn locked(arena: &Arena, value: &[u8]) -> Result<LockedBox, CliError> {
    match value.len() {
        0 => Err(CliError::SecretInput("the value is empty")),
        1..=MAX_VALUE => {
            let mut locked = arena.take(value.len())?;
            locked.expose_mut().copy_from_slice(value);
            Ok(locked)
        }
        _ => Err(CliError::SecretInput("the value is longer than 8192 bytes")),
    }
}

fn prompt(text: &'static str) -> Result<Password, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::SecretInput(
            "there is no terminal to ask on; add --password-stdin and pipe the password",
        ));
    }
    rpassword::prompt_password(text)
        .map(Zeroizing::new)
        .map_err(CliError::Input)
}

/// Reads to the end without a buffer of the standard library in between.
fn read_all(most: usize) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut bytes = Zeroizing::new(vec![0; most + 1]);
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::read(io::stdin(), rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(CliError::Input(error.into())),
        }
    }
    if filled > most {
        drain_and_wipe();
        return Err(CliError::SecretInput("standard input is too long"));
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Lets the writer finish, so that it learns of our refusal and not of a broken pipe.
fn drain_and_wipe() {
    let mut rest = Zeroizing::new([0_u8; 4096]);
    while io::stdin().read(&mut rest[..]).is_ok_and(|read| read > 0) {
        rest.zeroize();
    }
}

fn trim_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

const MAX_PASSWORD_INPUT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_trimmed() {
        assert_eq!(trim_line_end(b"sk-1\n"), b"sk-1");
        assert_eq!(trim_line_end(b"sk-1\r\n"), b"sk-1");
        assert_eq!(trim_line_end(b"sk-1\n\n"), b"sk-1\n");
        assert_eq!(trim_line_end(b"sk-1"), b"sk-1");
    }
}
