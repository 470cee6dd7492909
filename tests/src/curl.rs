//! A person with curl.

use std::process::Command;

use serde_json::Value;

use crate::Server;

/// What curl printed of an answer.
pub struct CurlAnswer {
    /// The status.
    pub status: u16,
    /// The status line and the fields.
    pub head: String,
    /// The body; [`Value::Null`] when it is no JSON.
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

/// Asks a server that speaks plain HTTP.
pub fn curl(server: &Server, path: &str, arguments: &[&str]) -> CurlAnswer {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "30"])
        .args(arguments)
        .arg(format!("{}{path}", server.url()))
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "{output:?}");
    let answer = String::from_utf8(output.stdout).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    CurlAnswer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or_default(),
        text: body.to_owned(),
    }
}

impl CurlAnswer {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}
