//! The settings file. Everything in it has a default, and nothing in it is secret.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyferry_protocol::ids::KeyName;
use keyferry_sdk::link::Backoff;
use serde::Deserialize;

/// The settings of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Runs where a kernel lacks something, and says so, instead of refusing to start.
    pub allow_degraded: bool,
    /// The group that may open the socket, by name or number; the agent's own unless set.
    pub socket_group: Option<String>,
    /// The certificate (PEM) for servers that demand one.
    pub client_certificate: Option<PathBuf>,
    /// Its key, which nobody else may be able to read.
    pub client_key: Option<PathBuf>,
    /// Who may have which key.
    pub policy: PolicyConfig,
    /// Where the proxy may go.
    pub proxy: ProxyConfig,
    /// What one tool, and all of them, may use.
    pub limits: Limits,
    /// How fast a lost server is tried again.
    pub reconnect: Reconnect,
    /// How long a session lives.
    pub session: SessionSettings,
}

/// Who may have which key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// Users that may have any key, beside the agent's own and root.
    pub uids: Vec<u32>,
    /// Groups that may have any key, beside the socket's.
    pub gids: Vec<u32>,
    /// Starts a helper that tells programs apart, for rules that name one.
    pub identify_programs: bool,
    /// Where a service manager starts that helper, instead of the agent.
    pub programs_socket: Option<PathBuf>,
    /// Rules for single keys: they stand instead of everything above.
    pub keys: BTreeMap<Named, KeyRule>,
}

/// A key's name: one that no key can have would leave a key without its rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Named(pub KeyName);

impl TryFrom<String> for Named {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let name = text.parse().map(Self);
        name.map_err(|_| {
            format!("`{text}` is no name of a key: 1 to 64 letters, digits, -, _ or .")
        })
    }
}

impl Borrow<KeyName> for Named {
    fn borrow(&self) -> &KeyName {
        &self.0
    }
}

/// Who may have one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyRule {
    /// These users.
    pub uids: Vec<u32>,
    /// Members of these groups.
    pub gids: Vec<u32>,
    /// Only these programs; alone, of any user that may connect.
    pub programs: Vec<ProgramRule>,
}

/// One program. What is named has to fit, and something has to be named.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenProgram")]
pub struct ProgramRule {
    /// Its path.
    pub exe: Option<String>,
    /// The SHA-256 of its file.
    pub sha256: Option<Sha256Hex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProgram {
    exe: Option<String>,
    sha256: Option<Sha256Hex>,
}

impl TryFrom<WrittenProgram> for ProgramRule {
    type Error = &'static str;

    fn try_from(WrittenProgram { exe, sha256 }: WrittenProgram) -> Result<Self, Self::Error> {
        if exe.is_none() && sha256.is_none() {
            return Err("a rule for a program names its exe or its sha256");
        }
        Ok(Self { exe, sha256 })
    }
}

/// 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Sha256Hex(pub [u8; 32]);

impl TryFrom<String> for Sha256Hex {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "a sha256 is 64 hexadecimal digits";
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        let mut digest = [0; 32];
        for (byte, place) in digest.iter_mut().zip((0..64).step_by(2)) {
            let digits = text.get(place..place + 2).ok_or(WRONG)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| WRONG)?;
        }
        Ok(Self(digest))
    }
}

impl PolicyConfig {
    /// Whether any rule, or the setting, asks which program a tool runs.
    pub fn tells_programs_apart(&self) -> bool {
        let named = |rule: &KeyRule| !rule.programs.is_empty();
        let asked = self.identify_programs || self.programs_socket.is_some();
        asked || self.keys.values().any(named)
    }
}

/// Where the proxy may go, and where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyConfig {
    /// Its port on 127.0.0.1; 0 for any that is free.
    pub port: u16,
    /// Hosts that may be on this machine or a private network. Metadata services never are.
    pub allow_private: Vec<String>,
    /// Whether what is under way goes on when its key is revoked or its lease over.
    pub finish_streams: bool,
    /// Certificates (PEM) of further authorities, beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// What one tool, and all of them, may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Tools connected at once; one user may have half of them.
    pub connections: Count<4096>,
    /// Keys that one tool has open at once; each takes 12 KiB of locked memory.
    pub pages_per_connection: Count<256>,
    /// Connections to the proxy at once; one user may have half of them.
    pub proxy_connections: Count<4096>,
}

/// 1 to `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Count<const MOST: u64>(u64);

impl<const MOST: u64> Count<MOST> {
    /// As a number of things.
    pub fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// As a number of seconds.
    pub fn seconds(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// As a number of milliseconds.
    pub fn milliseconds(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl<const MOST: u64> TryFrom<u64> for Count<MOST> {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        let known = (1..=MOST).contains(&number);
        known
            .then_some(Self(number))
            .ok_or_else(|| format!("{number} is not between 1 and {MOST}"))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Count(256),
            pages_per_connection: Count(32),
            proxy_connections: Count(512),
        }
    }
}

/// How fast a lost server is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconnect {
    /// The first wait is up to this long, in milliseconds.
    pub first_ms: Count<LONGEST_WAIT>,
    /// No wait for a server that is away is longer than this, in milliseconds; one that has refused
    /// is asked again after up to three times as long.
    pub longest_ms: Count<LONGEST_WAIT>,
}

impl Reconnect {
    /// The waits that it says.
    pub fn backoff(&self) -> Backoff {
        Backoff::new(self.first_ms.milliseconds(), self.longest_ms.milliseconds())
    }
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first_ms: Count(100),
            longest_ms: Count(10_000),
        }
    }
}

/// How long a session lives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionSettings {
    /// After so many seconds a fresh handshake takes over; the server ends a session after 70
    /// minutes (PROTOCOL.md §5).
    pub renew_seconds: Count<LONGEST_SESSION>,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            renew_seconds: Count(LONGEST_SESSION),
        }
    }
}

/// In milliseconds: who waits longer has given its machine up.
const LONGEST_WAIT: u64 = 3_600_000;
/// In seconds: well below the hour after which a session's keys are to be replaced.
const LONGEST_SESSION: u64 = 55 * 60;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is malformed", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }
}

/// Where systemd puts the credentials of this service.
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn a_full_file_is_read() {
        let text = r#"
            allow_degraded = true
            socket_group = "keyferry"
            client_certificate = "/etc/keyferry/client.pem"
            client_key = "/etc/keyferry/client-key.pem"
            [policy]
            uids = [1000]
            gids = [100]
            programs_socket = "/run/keyferry-programs.sock"
            [policy.keys.openai]
            uids = [1001]
            programs = [{ exe = "/usr/bin/python3" }]
            [proxy]
            allow_private = ["localhost"]
            [limits]
            connections = 4
            [reconnect]
            first_ms = 10
            [session]
            renew_seconds = 60
        "#;
        let config: Config = toml::from_str(text).unwrap();
        let openai: KeyName = "openai".parse().unwrap();
        assert_eq!(config.policy.keys[&openai].uids, [1001]);
        assert!(config.policy.tells_programs_apart());
        let limits = &config.limits;
        assert_eq!(
            (limits.connections.get(), limits.pages_per_connection.get()),
            (4, 32)
        );
        let (first, life) = (config.reconnect.first_ms, config.session.renew_seconds);
        assert_eq!(first.milliseconds(), Duration::from_millis(10));
        assert_eq!(life.seconds(), Duration::from_secs(60));
    }

    /// The sections of docs/AGENT.md, each with its rows: name, default, what.
    fn document() -> Vec<(String, Vec<[String; 3]>)> {
        let text = include_str!("../../docs/AGENT.md");
        let sections = text.split("\n## ").skip(1).map(|section| {
            let rows = section.lines().filter_map(|line| {
                let cells = line
                    .strip_prefix("| `")?
                    .trim_end_matches('|')
                    .splitn(3, '|');
                let cells: Vec<_> = cells
                    .map(|cell| cell.trim_matches([' ', '`']).to_owned())
                    .collect();
                Some(cells.try_into().unwrap())
            });
            let heading = section.lines().next().unwrap().replace("NAME", "openai");
            (heading, rows.collect())
        });
        sections.collect()
    }

    #[test]
    fn every_setting_is_in_the_document_with_its_default_and_bounds() {
        let rule = "[policy.keys.openai]";
        for (heading, rows) in document() {
            let section = Some(heading.as_str()).filter(|heading| heading.starts_with('['));
            let section = section.unwrap_or_default();
            let parse = |line: &str| toml::from_str::<Config>(&format!("{section}\n{line}\n"));
            let unknown = parse("no_such_name = 1").unwrap_err().to_string();
            let (_, known) = unknown.split_once(", expected ").unwrap();
            let mut known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
            let tables = ["policy", "proxy", "limits", "reconnect", "session"];
            known.retain(|name| !section.is_empty() || !tables.contains(name));
            let told: Vec<_> = rows.iter().map(|[name, ..]| name.as_str()).collect();
            assert_eq!(told, known, "{heading}");
            for [name, default, what] in &rows {
                if !default.is_empty() && section != rule {
                    let set = parse(&format!("{name} = {default}"));
                    assert_eq!(set.unwrap(), Config::default(), "{name}");
                }
                if let Some(most) = what.split("1 to ").nth(1) {
                    let digits = most.split(|letter: char| !letter.is_ascii_digit());
                    let most: u64 = digits.into_iter().next().unwrap().parse().unwrap();
                    assert!(parse(&format!("{name} = {most}")).is_ok(), "{name}");
                    assert!(parse(&format!("{name} = {}", most + 1)).is_err(), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        for text in [
            "allow_degradded = true",
            "[policy.keys.openai]\nuid = [1]",
            "[policy.keys.openai]\nprograms = [{ sha256 = \"12\" }]",
            "[session]\nrenew_seconds = 0",
            "[session]\nrenew_seconds = 3301",
            "[limits]\nconnections = 0",
            "[limits]\nproxy_connections = 18446744073709551615",
            "[reconnect]\nlongest_ms = 0",
            "[policy.keys.\"open ai\"]\nuids = [1]",
            "[policy.keys.openai]\nprograms = [{}]",
        ] {
            assert!(toml::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
