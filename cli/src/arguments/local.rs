//! What is asked of this machine's agent: `keyferry read`, `exec` and `status`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::KeyName;

/// See [`super::Command::Read`].
#[derive(Args)]
pub struct Read {
    /// The key.
    #[command(flatten)]
    pub(crate) key: KeyName,
    #[command(flatten)]
    pub(crate) agent: AgentSocket,
    /// Write even to a terminal, where scroll-back and logs keep it.
    #[arg(long)]
    pub(crate) force: bool,
}

/// See [`super::Command::Exec`].
#[derive(Args)]
#[command(after_help = EXEC_VARIABLES)]
pub struct Exec {
    /// A key to use; can be repeated. Of two for one SDK the first one counts. Default: every key
    /// that this user may use.
    #[arg(long = "key", value_name = "NAME")]
    pub(crate) keys: Vec<keyferry_protocol::ids::KeyName>,
    #[command(flatten)]
    pub(crate) agent: AgentSocket,
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<OsString>,
}

/// See [`super::Command::Status`].
#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    pub(crate) agent: AgentSocket,
}

/// How to reach the agent.
#[derive(Args)]
pub struct AgentSocket {
    /// The agent's socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

const DEFAULT_SOCKET: &str = "/run/keyferry/agent.sock";

const EXEC_VARIABLES: &str = "\
The command finds in its environment, instead of keys, tokens that are worth something only to this
user, while the command runs, and at the agent's proxy:
  openai     OPENAI_BASE_URL, OPENAI_API_KEY
  anthropic  ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY
  groq       GROQ_BASE_URL, GROQ_API_KEY
  google     GOOGLE_GEMINI_BASE_URL, GEMINI_API_KEY, GOOGLE_API_KEY
  each key   KEYFERRY_<NAME>_BASE_URL, KEYFERRY_<NAME>_TOKEN
A token goes where the key would go, in any header. Behind the base URL, /@HOST/ names another host
of the key.";
