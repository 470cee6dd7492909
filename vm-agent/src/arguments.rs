//! The command line. No secret is ever taken from it.

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use keyferry_sdk::DEFAULT_SOCKET;

/// Holds API keys inside a virtual machine in locked, wiped memory, for the tools that may have
/// them.
#[derive(Debug, Parser)]
#[command(name = "keyferry-agent", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Enrol this machine with a ticket and hold its keys until stopped.
    Run(Run),
    /// Show what the running agent holds and how it is. Exit code 0: healthy, 1: stale or
    /// disconnected, 2: not running.
    Status(Status),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Where tools connect.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    #[command(flatten)]
    pub(crate) ticket: TicketFrom,
    /// The settings file (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Run where the kernel lacks Landlock, and say so in the status.
    #[arg(long)]
    pub(crate) allow_degraded: bool,
    /// The group that may open the socket, by name or number.
    #[arg(long, value_name = "GROUP")]
    pub(crate) socket_group: Option<String>,
}

/// Where the ticket comes from: without any of these options, the systemd credential `ticket`.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct TicketFrom {
    /// Read the ticket from standard input.
    #[arg(long)]
    pub(crate) ticket_stdin: bool,
    /// Read the ticket from this open file descriptor.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) ticket_fd: Option<RawFd>,
    /// Ask the host for tickets, at every start and whenever one is needed, over this serial port;
    /// `auto` for /dev/virtio-ports/org.keyferry.0 (on the host: keyferry-server vm channel).
    #[arg(long, value_name = "PATH|auto")]
    pub(crate) channel: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The agent's socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
