//! What can be said on the command line. Nothing secret can.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use keyferry_sdk::tls::SpkiPin;

use crate::rest::Address;

/// Keeps API keys on a server, and ferries them into virtual machines.
///
/// Passwords and key values are asked for on the terminal or read from standard input, never
/// taken from arguments.
#[derive(Parser)]
#[command(name = "keyferry", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Answer in JSON, errors too.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Make an account on a server, and sign in.
    Register(Register),
    /// Sign in to a server.
    Login(Login),
    /// End the session.
    Logout,
    /// See where you are signed in, and end a session.
    #[command(subcommand)]
    Sessions(Sessions),
    /// See, take away or close your account.
    #[command(subcommand)]
    Account(Account),
    /// Change your password.
    #[command(subcommand)]
    Password(Password),
    /// A second factor for your logins.
    #[command(subcommand)]
    Mfa(Mfa),
    /// API keys for your own programs.
    #[command(subcommand)]
    ApiKeys(ApiKeys),
    /// Store, list and change keys.
    #[command(subcommand)]
    Keys(Keys),
    /// Enrol virtual machines, and see what they hold.
    #[command(subcommand)]
    Vms(Vms),
    /// Write a key that this machine's agent holds to standard output.
    Read(Read),
    /// Run a command whose SDKs use keys through the agent, without having them.
    Exec(Exec),
    /// Tell what this machine's agent holds, and whether the server is well.
    Status(Status),
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Which server, and why it is trusted.
#[derive(Args)]
pub struct Contact {
    /// Such as `https://keys.example.org:8443`. Default: the server of the last session.
    #[arg(long, value_name = "URL")]
    pub server: Option<Address>,
    /// What the server printed at its first start: `sha256:...`. Without it, the system's root
    /// certificates decide, and else you are asked.
    #[arg(long, value_name = "PIN")]
    pub fingerprint: Option<SpkiPin>,
}

/// See [`Command::Register`].
#[derive(Args)]
pub struct Register {
    #[command(flatten)]
    pub(crate) contact: Contact,
    /// The name to sign in with.
    #[arg(long)]
    pub(crate) username: Option<String>,
    /// An address to sign in with.
    #[arg(long, required_unless_present = "username")]
    pub(crate) email: Option<String>,
    /// Your full name.
    #[arg(long)]
    pub(crate) full_name: Option<String>,
    /// The name of your team.
    #[arg(long)]
    pub(crate) tenant_name: Option<String>,
    /// Read the password from standard input.
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// See [`Command::Login`].
#[derive(Args)]
pub struct Login {
    #[command(flatten)]
    pub(crate) contact: Contact,
    /// A user name or an e-mail address. Default: asked for.
    #[arg(long)]
    pub(crate) username: Option<String>,
    /// Read the password from standard input, and from a second line the code of the second
    /// factor, if you have one.
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// See [`Command::Sessions`].
#[derive(Subcommand)]
pub enum Sessions {
    /// List your sessions, newest first.
    List,
    /// End one of them.
    End {
        /// Its id.
        id: uuid::Uuid,
    },
}

/// See [`Command::Account`].
#[derive(Subcommand)]
pub enum Account {
    /// Show your account and what you may do.
    Show,
    /// Print everything that the server knows of you, as JSON.
    Export,
    /// Close your account; what only you own is destroyed, and your machines wipe.
    Close {
        /// Read the password from standard input, and from a second line a code of the second
        /// factor, if you have one.
        #[arg(long)]
        password_stdin: bool,
    },
}

/// See [`Command::Password`].
#[derive(Subcommand)]
pub enum Password {
    /// Replace it; all other sessions end.
    Change {
        /// Read the present password and the new one from two lines of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
}

/// See [`Command::Mfa`]. Codes are asked for, or read from standard input.
#[derive(Subcommand)]
pub enum Mfa {
    /// Tell which second factors you have.
    Status,
    /// Make a secret for an authenticator app.
    Start,
    /// Prove that the app has it, and get recovery codes.
    Confirm,
    /// Make new recovery codes; the old ones are void.
    RecoveryCodes,
    /// Go without a second factor.
    Remove,
}

/// See [`Command::ApiKeys`].
#[derive(Subcommand)]
pub enum ApiKeys {
    /// Make a key and print it, once.
    Add {
        /// What it is for.
        name: String,
        /// After how many days it ends. Default: never.
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u16>,
        /// Permit this only, such as `vault:read`; can be repeated. Default: all that you may do.
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// List your keys.
    List,
    /// End a key.
    Revoke {
        /// As the list tells it.
        id: uuid::Uuid,
    },
}

/// See [`Command::Keys`].
#[derive(Subcommand)]
pub enum Keys {
    /// Store a new key; its value is asked for, or read from standard input.
    Put(PutKey),
    /// List the keys, without their values.
    List,
    /// Show one key and its versions.
    Show(KeyName),
    /// Give a key a new value; it reaches the machines at once.
    Rotate(RotateKey),
    /// Destroy a key's value, here and in every machine.
    Revoke(KeyName),
    /// Revoke a key and forget it.
    Delete(KeyName),
}

/// One key.
#[derive(Args)]
pub struct KeyName {
    /// 1 to 64 letters, digits, `-`, `_`, `.`.
    pub(crate) name: keyferry_protocol::ids::KeyName,
}

/// See [`Keys::Put`].
#[derive(Args)]
pub struct PutKey {
    #[command(flatten)]
    pub(crate) key: KeyName,
    /// Whose key it is. Default: told by the name, else `custom`.
    #[arg(long, value_enum)]
    pub(crate) provider: Option<Provider>,
    /// Let tools read the value itself; else it can only be used through the agent.
    #[arg(long)]
    pub(crate) raw: bool,
    /// Deliver to this machine only (name or id); can be repeated. Default: to all.
    #[arg(long = "vm", value_name = "VM")]
    pub(crate) vms: Vec<String>,
    /// Wipe it after this long without contact to the server: 900, 15m, 1h.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) lease: Option<u32>,
    /// Use it only toward this host; can be repeated. Default: the provider's hosts.
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allowed_hosts: Vec<String>,
}

/// See [`Keys::Rotate`].
#[derive(Args)]
pub struct RotateKey {
    #[command(flatten)]
    pub(crate) key: KeyName,
    /// Keep the old value deliverable for this long: 60, 5m, 1h.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "0")]
    pub(crate) overlap: u32,
}

/// Presets of hosts.
#[derive(Clone, Copy, ValueEnum)]
pub enum Provider {
    /// api.openai.com
    Openai,
    /// api.anthropic.com
    Anthropic,
    /// generativelanguage.googleapis.com
    Google,
    /// api.groq.com
    Groq,
    /// Any other.
    Custom,
}

/// See [`Command::Vms`].
#[derive(Subcommand)]
pub enum Vms {
    /// Add a machine.
    Add {
        /// 1 to 64 letters, digits, `-`, `_`, `.`.
        name: keyferry_protocol::ids::KeyName,
    },
    /// Print a one-time ticket for a machine's agent: pipe it, do not keep it.
    Ticket(VmChoice),
    /// List the machines.
    List,
    /// Tell which keys a machine was given, and what it acknowledged.
    Held(VmChoice),
    /// Wipe all keys in a machine now, and end its access.
    Wipe(VmChoice),
    /// End a machine's access; its agent wipes.
    CutOff(VmChoice),
    /// Give a machine that was cut off or wiped its access back; it then needs a new ticket.
    Allow(VmChoice),
    /// Cut a machine off and forget it.
    Delete(VmChoice),
}

/// One machine.
#[derive(Args)]
pub struct VmChoice {
    /// Its name or id.
    pub(crate) vm: String,
}

/// See [`Command::Read`].
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

/// See [`Command::Exec`].
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

/// See [`Command::Status`].
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

/// A time as whole seconds, or with a unit: `90`, `90s`, `15m`, `12h`, `1d`.
fn seconds(text: &str) -> Result<u32, &'static str> {
    const WRONG: &str = "a time is a number, alone or with s, m, h or d: 900, 15m, 1h";
    let digits = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let unit = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        Some("d") => 86_400,
        _ => return Err(WRONG),
    };
    digits
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or(WRONG)
}

const DEFAULT_SOCKET: &str = "/run/keyferry/agent.sock";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed
  2  the command line is wrong
  3  not signed in, or the credentials were refused
  4  there is no such key or machine
  5  the server cannot be reached, or is not the one that was trusted
  6  the agent cannot be reached, or does not give this key
  126, 127  the command of `exec` cannot be run, or is not found";

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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("1d"), Ok(86_400));
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        for wrong in ["", "m", "-1", "1.5h", "1mm", "99999999999", "9999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
