//! What the agent tells about itself: `keyferry-agent status --json` prints this.

use serde::{Deserialize, Serialize};

/// How an agent is. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// In one word.
    pub health: Health,
    /// Whether a session with a server is open.
    pub connected: bool,
    /// The agent's version.
    pub version: String,
    /// `memfd_secret` or `mlock`.
    pub protection: String,
    /// The link to the server.
    pub connection: Connection,
    /// Why the last attempt or session ended.
    pub last_error: Option<String>,
    /// How long the keys stay without a word from the server; `None` before the first session.
    pub lease: Option<Lease>,
    /// The keys, by name.
    pub keys: Vec<Key>,
    /// How many tools are connected.
    pub tools: usize,
    /// What the agent gave up at its start.
    pub hardening: Vec<Hardening>,
    /// The proxy and who uses it; `None` from an agent that has none.
    #[serde(default)]
    pub proxy: Option<Proxy>,
    /// What would make this machine safer, or get the agent going again.
    pub advice: Vec<String>,
    /// Keys, and processes that use the proxy, that are too many to be told.
    #[serde(default)]
    pub left_out: usize,
}

/// In one word, how an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Connected, and the server has told all keys: what is held is current.
    Healthy,
    /// Within the lease, but with no session that has told all keys: they work, and may be old.
    Stale,
    /// There are no keys: no session yet, or none for longer than the lease.
    Disconnected,
}

/// The link to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Where it stands.
    pub state: ConnectionState,
    /// The server's URL, as the ticket names it.
    pub server: Option<String>,
    /// This machine's id at the server.
    pub vm: Option<String>,
    /// Attempts since the last session ended.
    pub attempts: u32,
    /// What a person approves, while the state is [`ConnectionState::AwaitingApproval`].
    #[serde(default)]
    pub approval: Option<Approval>,
}

/// What a person compares before they approve a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// For `keyferry approve CODE`.
    pub code: String,
    /// Of the agent's key.
    pub fingerprint: String,
}

/// Where the link to the server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// An attempt is under way, or the next one is waited for.
    Connecting,
    /// A session is open.
    Connected,
    /// The servers refuse our credential. Attempts go on, slowly; a new ticket is needed.
    NeedsTicket,
    /// A person has to approve this machine.
    AwaitingApproval,
}

/// How long the keys stay without a word from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The whole lease.
    pub seconds: u64,
    /// What is left of it.
    pub left_seconds: u64,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its newest version.
    pub version: u32,
    /// `live`, `revoked` or `lease_over`.
    pub state: String,
    /// `raw` when tools may read it, `inject` when it stays in the agent.
    pub delivery: String,
    /// How many pages share it now.
    pub pages: usize,
    /// How often it was handed out.
    pub opened: u64,
    /// Requests that were given it by the proxy, since the agent started.
    #[serde(default)]
    pub requests: u64,
    /// Bytes sent to its hosts.
    #[serde(default)]
    pub sent: u64,
    /// Bytes received from them.
    #[serde(default)]
    pub received: u64,
}

/// The agent's proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The processes that use it, each with what it did with a key.
    pub tools: Vec<ProxyTool>,
}

/// What a process, and those that it started, did with a key through the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyTool {
    /// The key's name.
    pub key: String,
    /// The process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Requests that were given the key.
    pub requests: u64,
    /// Bytes sent to the key's hosts.
    pub sent: u64,
    /// Bytes received from them.
    pub received: u64,
}

/// One step of the hardening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardening {
    /// What was given up.
    pub step: String,
    /// How far it is in force.
    pub level: String,
    /// Whether it is less than the agent asks for.
    pub degraded: bool,
}
