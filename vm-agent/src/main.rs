//! `keyferry-agent`: holds API keys inside a virtual machine in locked, wiped memory.

#![forbid(unsafe_code)]

mod run;
mod show_status;
mod ticket_source;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use keyferry_agent::arguments::{Arguments, Command};
use keyferry_agent::programs;
use keyferry_protocol::memory::WipingAllocator;

/// What is freed is wiped first: the net below everything that is meant to be in locked memory.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Status(options) => show_status::show_status(&options),
        Command::LookAtPrograms => {
            let looked = programs::answer_questions(io::stdin().lock(), io::stdout());
            looked.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
    }
}
