//! The command line. No secret is ever taken from it.

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use keyferry_protocol::ids::KeyName;
use keyferry_sdk::DEFAULT_SOCKET;
use keyferry_sdk::link::ServerUrl;
use keyferry_sdk::tls::SpkiPin;

/// Holds API keys inside a virtual machine in locked, wiped memory, for the tools that may have
/// them.
#[derive(Debug, Parser)]
#[command(name = "keyferry-agent", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enrol this machine and hold its keys until stopped: by a ticket, by the host (`--channel`), or
    /// with a person's approval (`--approve`).
    Run(Box<Run>),
    /// Show what the running agent holds and how it is. Exit code 0: healthy, 1: stale or
    /// disconnected, 2: not running.
    Status(Status),
    /// Tell the agent which programs tools run; it starts this itself.
    #[command(hide = true)]
    LookAtPrograms,
}

/// See [`Command::Run`].
#[derive(Debug, Args)]
pub struct Run {
    /// Where tools connect.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// How the machine enrols.
    #[command(flatten)]
    pub ticket: TicketFrom,
    /// Whom it asks for approval.
    #[command(flatten)]
    pub server: ServerToAsk,
    /// The settings file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Run where the kernel lacks Landlock or gives no locked memory, and say so in the status and to
    /// the server.
    #[arg(long)]
    pub allow_degraded: bool,
    /// The group that may open the socket, by name or number.
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,
    /// The certificate (PEM) for servers that demand one; read again when it is renewed.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<PathBuf>,
    /// Its key, which nobody else may be able to read.
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
}

/// Where the ticket comes from: without any of these options, the systemd credential `ticket`, and
/// without one, the host, where it has laid a channel.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct TicketFrom {
    /// Read the ticket from standard input.
    #[arg(long)]
    pub ticket_stdin: bool,
    /// Read the ticket from this open file descriptor.
    #[arg(long, value_name = "NUMBER")]
    pub ticket_fd: Option<RawFd>,
    /// Ask the host for tickets, at every start and whenever one is needed, over this serial port;
    /// `auto` for /dev/virtio-ports/org.keyferry.0 (on the host: keyferry-server vm channel).
    #[arg(long, value_name = "PATH|auto")]
    pub channel: Option<PathBuf>,
    /// Show a code, and wait until a person approves it with `keyferry approve CODE`.
    #[arg(long, requires = "server")]
    pub approve: bool,
}

/// Which server is asked for approval, and what it is told.
#[derive(Debug, Args)]
pub struct ServerToAsk {
    /// Such as `https://keys.example.org:8443`.
    #[arg(long, value_name = "URL", requires = "approve")]
    pub server: Option<ServerUrl>,
    /// What the server printed at its first start: `sha256:...`. Without it, the system's root
    /// certificates decide.
    #[arg(long, value_name = "PIN", requires = "approve")]
    pub fingerprint: Option<SpkiPin>,
    /// What this machine would like to be called.
    #[arg(long, requires = "approve")]
    pub name: Option<KeyName>,
    /// The id of the tenant whose members are to find the request in `keyferry enrolments`.
    #[arg(long, value_name = "ID", requires = "approve")]
    pub tenant: Option<String>,
}

/// See [`Command::Status`].
#[derive(Debug, Args)]
pub struct Status {
    /// The agent's socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Print JSON, errors too.
    #[arg(long)]
    pub json: bool,
}
