//! The settings file. Everything in it has a default, and nothing in it is secret.

mod count;
mod policy;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use keyferry_sdk::link::Backoff;
use serde::Deserialize;

pub use count::Count;
pub use policy::{KeyRule, Named, PolicyConfig, ProgramRule, Sha256Hex};

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

/// Where systemd puts the credentials of this service.
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// In milliseconds: who waits longer has given its machine up.
const LONGEST_WAIT: u64 = 3_600_000;
/// In seconds: well below the hour after which a session's keys are to be replaced.
const LONGEST_SESSION: u64 = 55 * 60;
