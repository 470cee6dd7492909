//! What a command answers: for people, and for programs.

use std::io::{self, Write};

use serde_json::Value;
use zeroize::Zeroizing;

/// The result of a command.
pub struct Reply {
    kind: Kind,
    exit_code: u8,
}

enum Kind {
    Text { human: String, json: Value },
    Bytes(Zeroizing<Vec<u8>>),
}

impl Reply {
    /// A text for people, and the same as JSON.
    pub(crate) fn new(human: impl Into<String>, json: Value) -> Self {
        Self::of(Kind::Text {
            human: human.into(),
            json,
        })
    }

    const fn of(kind: Kind) -> Self {
        Self { kind, exit_code: 0 }
    }

    /// Of a command that did what it should, and found that something is wrong.
    #[must_use]
    pub(crate) fn with_exit_code(self, exit_code: u8) -> Self {
        Self { exit_code, ..self }
    }

    /// As documented in `keyferry --help`.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Exactly these bytes.
    pub(crate) fn bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self::of(Kind::Bytes(bytes))
    }

    /// Writes it; bytes go out as they are, by one unbuffered write.
    pub fn write(&self, output: &mut impl Write, json: bool) -> io::Result<()> {
        match &self.kind {
            Kind::Text { json: value, .. } if json => writeln!(output, "{value}")?,
            Kind::Text { human, .. } if human.is_empty() => {}
            Kind::Text { human, .. } => writeln!(output, "{}", lines(human.trim_end()))?,
            Kind::Bytes(bytes) => return write_unbuffered(bytes),
        }
        output.flush()
    }
}

fn write_unbuffered(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::write(io::stdout(), bytes)?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Rows under headings, in columns as wide as they need.
pub(crate) fn table<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> String {
    let mut widths = headings.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&widths, headings.iter().copied());
    for row in rows {
        text.push_str(&line(&widths, row.iter().map(String::as_str)));
    }
    text
}

fn line<'a>(widths: &[usize], cells: impl Iterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells
        .zip(widths)
        .map(|(cell, width)| format!("{cell:<width$}"))
        .collect();
    format!("{}\n", cells.join("  ").trim_end())
}

/// Without what would steer the terminal: servers and other people choose names.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .collect()
}

fn lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(printable).collect();
    lines.join("\n")
}

/// A member of a JSON object as text; absent and `null` are a dash.
pub(crate) fn cell(value: &Value, member: &str) -> String {
    match value.get(member) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => printable(text),
        Some(other) => other.to_string(),
    }
}

/// An account's names: `ada <ada@example.org>`, or the one that there is.
pub(crate) fn called(account: &Value) -> String {
    let name = |member: &str| account.get(member).and_then(Value::as_str).map(printable);
    match (name("username"), name("email")) {
        (Some(username), Some(email)) => format!("{username} <{email}>"),
        (username, email) => username.or(email).unwrap_or_else(|| "-".into()),
    }
}

/// A list of texts in a JSON object, with spaces between.
pub(crate) fn words(value: &Value, member: &str) -> String {
    let items = value.get(member).and_then(Value::as_array);
    let items = items.into_iter().flatten().filter_map(Value::as_str);
    printable(&items.collect::<Vec<_>>().join(" "))
}

/// The same for a time, without its fraction of a second.
pub(crate) fn time_cell(value: &Value, member: &str) -> String {
    let text = cell(value, member);
    match text.split_once('.') {
        Some((whole, _)) => format!("{}Z", whole.replace('T', " ")),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["openai".into(), "1".into()], ["a".into(), "12".into()]];
        assert_eq!(
            table(["NAME", "V"], &rows),
            "NAME    V\nopenai  1\na       12\n"
        );
    }

    #[test]
    fn nothing_that_others_have_named_steers_the_terminal() {
        let value = serde_json::json!({ "name": "a\u{1b}[2Jb\u{9b}1mc\nd" });
        assert_eq!(cell(&value, "name"), "a[2Jb1mcd");
        let mut written = Vec::new();
        let reply = Reply::new("one\u{1b}[2J\ntwo", value);
        reply.write(&mut written, false).unwrap();
        assert_eq!(written, b"one[2J\ntwo\n");
    }

    #[test]
    fn an_account_is_called_by_the_names_it_has() {
        let ada = serde_json::json!({ "username": "ada", "email": "ada@example.org" });
        assert_eq!(called(&ada), "ada <ada@example.org>");
        let ada = serde_json::json!({ "username": "ada", "email": null });
        assert_eq!(called(&ada), "ada");
        let ada = serde_json::json!({ "email": "ada@example.org" });
        assert_eq!(called(&ada), "ada@example.org");
    }

    #[test]
    fn a_time_is_shortened_to_seconds() {
        let value = serde_json::json!({ "at": "2026-01-02T03:04:05.678901Z", "none": null });
        assert_eq!(time_cell(&value, "at"), "2026-01-02 03:04:05Z");
        assert_eq!(time_cell(&value, "none"), "-");
    }
}
