//! The parts of `keyferry-agent`: it holds API keys inside a virtual machine in locked, wiped
//! memory, and hands them to the tools that may have them.

pub mod agent;
pub mod arguments;
pub mod causes;
pub mod config;
pub mod harden;
pub mod keyring;
mod places;
pub mod programs;
pub mod proxy;
pub mod socket;
#[expect(
    unsafe_code,
    reason = "the one place of the agent that talks to the kernel directly"
)]
pub mod sys;
pub mod upstream;
