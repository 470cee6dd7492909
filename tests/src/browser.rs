//! A browser: curl, which follows redirects and keeps cookies.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::{Server, Stage};

/// A browser with a cookie jar of its own, in which somebody signs in as this account.
pub struct Browser {
    jar: PathBuf,
    account: String,
}

/// Where a browser came by, and what the last server said.
#[derive(Debug)]
pub struct Said {
    /// Where it was sent, one after the other.
    pub places: Vec<String>,
    /// The last status.
    pub status: u16,
    /// The last body; [`Value::Null`] when it is no JSON.
    pub body: Value,
}

impl Browser {
    /// With an empty jar.
    pub fn new(stage: &Stage, name: &str, account: &str) -> Self {
        Self {
            jar: stage.path(&format!("jar-{name}")),
            account: account.to_owned(),
        }
    }

    /// Opens an address and follows it to its end.
    pub fn open(&self, address: &str) -> Said {
        let told = self.curl(&["-L", "-D", "-", address]);
        let (heads, body) = told.rsplit_once("\r\n\r\n").unwrap();
        let places = heads.lines().filter_map(|line| {
            let (name, place) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("location")
                .then(|| place.trim().to_owned())
        });
        let last = heads.rsplit("HTTP/1.1 ").next().unwrap();
        Said {
            places: places.collect(),
            status: last[..3].parse().unwrap(),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }

    /// Opens an address and tells where it leads, without going there.
    pub fn leave(&self, address: &str) -> String {
        let told = self.curl(&["-D", "-", address]);
        let place = told
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with("location: "));
        place.unwrap()[10..].trim().to_owned()
    }

    /// Who the server says that is signed in here.
    pub fn me(&self, server: &Server) -> Value {
        self.read(server, "/auth/me")
    }

    /// What the server answers here.
    pub fn read(&self, server: &Server, path: &str) -> Value {
        let told = self.curl(&[&format!("{}{path}", server.url())]);
        serde_json::from_str(&told).unwrap()
    }

    fn curl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("curl");
        let account = format!("X-Account: {}", self.account);
        command.args(["-sk", "--max-time", "20", "-H", &account, "-b"]);
        command
            .arg(&self.jar)
            .arg("-c")
            .arg(&self.jar)
            .args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}
