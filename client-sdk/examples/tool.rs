//! A tool that holds one key, and prints a line of JSON for each change that it sees in its page.
//!
//! ```text
//! {"event":"live","version":1,"length":56,"sha256":"...","at_ns":123}
//! {"event":"revoked","version":1,"at_ns":456}
//! ```
//!
//! `at_ns` is CLOCK_MONOTONIC. With `--poll` it looks at the page and makes no call to the agent;
//! without, it waits for the agent's word. The key itself is never printed.

#![expect(
    clippy::print_stdout,
    reason = "printing what it sees is all that this example does"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use keyferry_sdk::blocking::{Client, Key};
use keyferry_sdk::{Change, DEFAULT_SOCKET, Error, PageState, WipingAllocator, scrub};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};

/// What this program frees is wiped first.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

/// Holds one key and tells of its changes.
#[derive(Parser)]
struct Arguments {
    /// The agent's socket.
    #[arg(long, default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// The key.
    #[arg(long)]
    key: String,
    /// Look at the page instead of waiting for the agent's word.
    #[arg(long)]
    poll: bool,
    /// How often to look, in microseconds.
    #[arg(long, default_value_t = 200)]
    every_us: u64,
    /// Stay, holding the page, when the key is gone.
    #[arg(long)]
    stay: bool,
}

fn main() -> ExitCode {
    match follow(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_reads = writeln!(std::io::stderr(), "{}: {error}", error.code());
            ExitCode::FAILURE
        }
    }
}

fn follow(arguments: &Arguments) -> Result<(), Error> {
    let client = Client::connect_to(&arguments.socket)?;
    let key = client.key(&arguments.key)?;
    let mut seen = None;
    let mut changes = key.changes();
    loop {
        let now = key.now();
        if now.as_ref().ok() != seen.as_ref() || now.is_err() {
            seen = now.as_ref().ok().copied();
            if tell(&key, now) == Told::TheEnd {
                if arguments.stay {
                    stay();
                }
                return Ok(());
            }
        }
        if arguments.poll {
            std::thread::sleep(Duration::from_micros(arguments.every_us));
        } else {
            let _the_page_says_what = changes.next();
        }
    }
}

fn stay() -> ! {
    loop {
        std::thread::park();
    }
}

#[derive(PartialEq, Eq)]
enum Told {
    More,
    TheEnd,
}

fn tell(key: &Key, now: Result<Change, Error>) -> Told {
    let at = monotonic_ns();
    let (line, told) = match now {
        Ok(Change {
            state: PageState::Live,
            ..
        }) => match key.expose_version(describe) {
            Ok(about) => (
                format!(r#"{{"event":"live",{about},"at_ns":{at}}}"#),
                Told::More,
            ),
            // It has just ended: the next look says how.
            Err(_) => return Told::More,
        },
        Ok(Change { version, state }) => {
            let event = if state == PageState::LeaseOver {
                "lease_over"
            } else {
                "revoked"
            };
            let line = format!(r#"{{"event":"{event}","version":{version},"at_ns":{at}}}"#);
            (line, Told::TheEnd)
        }
        Err(error) => (
            format!(r#"{{"event":"{}","version":0,"at_ns":{at}}}"#, error.code()),
            Told::TheEnd,
        ),
    };
    // Hashing has left pieces of the key on the stack and in registers.
    scrub();
    println!("{line}");
    let _nobody_reads = std::io::stdout().flush();
    told
}

/// The hash is all that is told of the value.
fn describe(version: u32, value: &[u8]) -> String {
    let mut hash = String::new();
    for byte in Sha256::digest(value) {
        write!(hash, "{byte:02x}").expect("writing to a string cannot fail");
    }
    format!(
        r#""version":{version},"length":{},"sha256":"{hash}""#,
        value.len()
    )
}

fn monotonic_ns() -> u128 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default().as_nanos()
}
