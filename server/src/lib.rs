//! The Keyferry server: accounts, the vault, and delivery of keys to virtual machines.
#![forbid(unsafe_code)]

mod app;
mod audit;
mod bus;
mod clock;
mod config;
mod error;
mod store;
