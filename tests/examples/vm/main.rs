//! A real virtual machine: Debian with the packaged agent under QEMU, from boot to power-off.
//!
//! `tests/vm/run` makes what it boots, and starts this. Each line that it prints was seen.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "an acceptance test prints what it sees, and fails by panicking"
)]

mod machine;
mod memory;
mod qmp;
mod service;
mod shell;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() -> ExitCode {
    let folder = |name| std::env::var_os(name).map(PathBuf::from);
    let (Some(cache), Some(images)) = (folder("KEYFERRY_VM_CACHE"), folder("KEYFERRY_VM_IMAGES"))
    else {
        println!("tests/vm/run starts this program");
        return ExitCode::FAILURE;
    };
    story::play(&machine::Images { cache, images }).await;
    ExitCode::SUCCESS
}

/// One line of what was seen.
fn seen(begin: Instant, what: &str) {
    println!("    ✓ {:6.1} s  {what}", begin.elapsed().as_secs_f64());
}

/// Asks until there is an answer. Emulation is slow, and slower beside other work.
async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "waited {PATIENCE:?} until {what}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

const PATIENCE: Duration = Duration::from_secs(120);
