//! `keyferry-agent`: holds API keys inside a virtual machine in locked, wiped memory.

#![forbid(unsafe_code)]

mod run;
mod show_status;
mod ticket_source;

use std::io::{self, Write as _};
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
            match programs::answer_questions(io::stdin().lock(), io::stdout()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    let told = format!("keyferry-agent look-at-programs: {error}");
                    let _nobody_reads = writeln!(io::stderr(), "{told}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}
