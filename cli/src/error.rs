//! Why a command failed, and what to do about it.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use keyferry_sdk::tls::SpkiPin;
use serde_json::json;

use crate::rest::{Address, Problem, RestError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// No session is stored.
    #[error("you are not signed in; run `keyferry login --server URL`")]
    NotSignedIn,
    /// The session ended on the server.
    #[error("the session has ended; run `keyferry login`")]
    SessionEnded,
    /// The server answered with a problem.
    #[error("{0}")]
    Refused(Problem),
    /// The server knows other providers.
    #[error("the server does not know this provider; it knows: {0}")]
    NoProvider(String),
    /// A sign-in in the browser failed.
    #[error("the sign-in at the provider failed: {0}")]
    Provider(String),
    /// The server could not be asked.
    #[error("{server}: {source}")]
    Unreachable {
        /// Which one.
        server: Address,
        /// Why.
        source: RestError,
    },
    /// A first contact needs a person.
    #[error(
        "the certificate of {server} is not signed by a known authority. If its operator confirms \
         this fingerprint, run the command again with\n  --server {server} --fingerprint {pin}"
    )]
    Unknown {
        /// Which one.
        server: Address,
        /// What it showed.
        pin: SpkiPin,
    },
    /// The person did not confirm the fingerprint.
    #[error("the fingerprint was not confirmed; nothing was sent")]
    NotConfirmed,
    /// The agent's key is another than the one that was named.
    #[error("the machine that shows this code has another key; nothing was approved")]
    OtherKey,
    /// The person did not see the code.
    #[error("the code was not confirmed; nothing was approved")]
    NotApproved,
    /// Nothing has this name or id.
    #[error("there is no {called} `{wanted}`; see `keyferry {listed_by}`")]
    NoSuch {
        /// What it would be.
        called: &'static str,
        /// Its name or id.
        wanted: String,
        /// The command that lists what there is.
        listed_by: &'static str,
    },
    /// A key of this name is there.
    #[error(
        "there is a key `{0}` already: `keyferry keys rotate {0}` gives it a new value, `keyferry keys \
         policy {0}` other terms"
    )]
    KeyExists(String),
    /// More than one thing has this name.
    #[error("there is more than one {called} `{wanted}`; give its id")]
    Several {
        /// What they are.
        called: &'static str,
        /// Their name.
        wanted: String,
    },
    /// A change without a word on what to change.
    #[error(
        "say what to change, such as --raw, --vm or --allow-host: `keyferry keys policy --help`"
    )]
    NothingToChange,
    /// A time before all times was asked for.
    #[error("that is too long ago to be a time")]
    TooLongAgo,
    /// The audit is not what was written, as the reply has told.
    #[error("the audit is not what the server wrote; tell its operator")]
    AuditChanged,
    /// A file that was named cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A secret would be shown.
    #[error(
        "standard output is a terminal, which remembers what it shows; pipe it, or add --force"
    )]
    OutputIsTerminal,
    /// A password or key value is missing or unusable.
    #[error("{0}")]
    SecretInput(&'static str),
    /// A terminal was needed.
    #[error("{0} must be given by an option, since there is no terminal to ask on")]
    NoTerminal(&'static str),
    /// There is no folder for the session.
    #[error("neither XDG_CONFIG_HOME nor HOME is an absolute path; the session is kept in there")]
    NoHome,
    /// The session file cannot be used.
    #[error("{path}: {reason}")]
    SessionFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// This machine has no locked memory for us.
    #[error("there is no locked memory for the secret: {0}")]
    Memory(#[from] keyferry_protocol::memory::MemoryError),
    /// The value could not be sealed.
    #[error("the server's published key cannot be used")]
    Seal,
    /// The agent did not give what was asked.
    #[error(transparent)]
    Agent(#[from] keyferry_sdk::Error),
    /// There is nothing for a command to use.
    #[error("the agent holds no key that this user may use; see `keyferry status`")]
    NoKeys,
    /// An SDK has room for one key.
    #[error("both `{one}` and `{other}` are for the same SDK; choose with --key")]
    WhichKey {
        /// A key.
        one: String,
        /// The next.
        other: String,
    },
    /// The command did not start.
    #[error("cannot run {}: {source}", program.display())]
    Exec {
        /// Which.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Reading the input failed.
    #[error("standard input: {0}")]
    Input(#[source] io::Error),
    /// Writing the reply failed.
    #[error("standard output: {0}")]
    Output(#[source] io::Error),
}

impl CliError {
    /// As documented in `keyferry --help`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotSignedIn | Self::SessionEnded | Self::Provider(_) => 3,
            Self::Refused(problem) => match problem.status {
                401 => 3,
                404 => 4,
                _ => 1,
            },
            Self::NothingToChange => 2,
            Self::NoSuch { .. } => 4,
            Self::Unreachable { .. } | Self::Unknown { .. } | Self::NotConfirmed => 5,
            Self::Agent(_) | Self::NoKeys => 6,
            Self::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Exec { .. } => 126,
            _ => 1,
        }
    }

    /// The text for a person, or one line of JSON.
    pub fn describe(&self, json: bool) -> String {
        let text = self.describe_cause();
        if !json {
            return format!("keyferry: {text}");
        }
        json!({ "error": text, "code": self.code(), "exit_code": self.exit_code() }).to_string()
    }

    /// The stable code, for programs: the server's, the agent's, or one of docs/STATUS_CODES.md.
    fn code(&self) -> &str {
        match self {
            Self::Refused(problem) => problem.code.as_str(),
            Self::Agent(error) => error.code(),
            Self::NoKeys => "no_keys",
            Self::NotSignedIn => "not_signed_in",
            Self::SessionEnded => "session_ended",
            Self::NoSuch { .. } => "not_found",
            Self::KeyExists(_) => "already_exists",
            Self::Several { .. } => "ambiguous",
            Self::Unreachable { .. } => "unreachable",
            Self::Unknown { .. } | Self::NotConfirmed => "server_not_trusted",
            Self::SecretInput(_) | Self::NoTerminal(_) | Self::Input(_) => "no_input",
            _ => "failed",
        }
    }

    /// The error and the causes that its own text leaves out.
    pub(crate) fn describe_cause(&self) -> String {
        let mut text = self.to_string();
        let mut cause = match self {
            Self::Unreachable { source, .. } => source.source(),
            Self::Agent(error) => error.source(),
            _ => None,
        };
        while let Some(deeper) = cause {
            text.push_str(": ");
            text.push_str(&deeper.to_string());
            cause = deeper.source();
        }
        text
    }
}
