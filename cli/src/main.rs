//! Parses the command line, runs one command, prints its reply or its error.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use keyferry_cli::arguments::Arguments;
use keyferry_cli::{CliError, Reply};
use keyferry_protocol::memory::WipingAllocator;

#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    let result = match keyferry_cli::run(arguments).await {
        Ok(reply) => print(&reply, json).map(|()| reply.exit_code()),
        Err(error) => Err(error),
    };
    match result {
        Ok(exit_code) => ExitCode::from(exit_code),
        Err(error) => {
            // A closed standard error leaves the exit code to tell.
            let _ = writeln!(io::stderr(), "{}", error.describe(json));
            ExitCode::from(error.exit_code())
        }
    }
}

fn print(reply: &Reply, json: bool) -> Result<(), CliError> {
    reply
        .write(&mut io::stdout().lock(), json)
        .map_err(CliError::Output)
}
