//! The `keyferry` command: accounts, keys and virtual machines from a terminal, and what the agent
//! of this machine holds.

mod account;
mod api_keys;
mod app;
pub mod arguments;
mod audit;
mod devices;
mod enrolments;
mod error;
mod events;
mod identities;
mod keys;
mod local;
mod mfa;
mod operators;
mod output;
pub mod rest;
mod rest_list;
mod run;
mod secret_input;
mod session;
mod sessions;
mod team;
mod vms;

pub use error::CliError;
pub use output::Reply;
pub use run::run;
