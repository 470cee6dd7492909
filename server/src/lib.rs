//! The Keyferry server: accounts, the vault, and delivery of keys to virtual machines.
#![forbid(unsafe_code)]

mod accounts;
mod admin;
mod alerts;
mod app;
mod audit;
mod background;
mod backup;
mod base32;
mod bus;
mod cache;
mod clock;
mod config;
mod data_dir;
mod delivery;
mod error;
mod http;
mod import;
mod limits;
mod mail;
mod member;
mod metrics;
mod network;
mod operators;
mod outbound;
mod page;
mod query;
mod reread;
mod secret;
mod sessions;
mod stop;
mod store;
mod tenants;
#[cfg(test)]
mod testing;
mod traces;
mod vault;
mod whole_number;

#[cfg(feature = "fuzzing")]
pub use http::fuzzing;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the operator's command line.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    admin::run(arguments)
}

/// The operator's command line, for manuals and completions.
pub fn command_line() -> clap::Command {
    admin::command_line()
}
