//! The `keyferry-server` program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use keyferry_protocol::memory::WipingAllocator;

/// Freed memory holds nothing.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

fn main() -> ExitCode {
    keyferry_server::run(std::env::args_os())
}
