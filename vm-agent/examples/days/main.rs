//! Days of leases, outages and rotations on clocks that jump: `days SEED DAYS`.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a simulation fails by panicking, and says what it saw"
)]

mod simulation;

use std::time::{Duration, Instant};

fn main() {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<u32>());
    let mut number = |otherwise: u32| match numbers.next() {
        Some(Ok(number)) => number,
        Some(Err(wrong)) => panic!("usage: days [SEED [DAYS]]: {wrong}"),
        None => otherwise,
    };
    let (seed, days) = (number(1), number(7));
    let begun = Instant::now();
    for day in 0..days {
        let seed = u64::from(seed + day);
        let lived = simulation::live(seed, DAY);
        let (looks, live) = lived.looks;
        let [before, after] = lived.growth;
        println!("seed {seed}: {:?}", lived.events);
        println!(
            "  {} sessions, {live} live keys seen in {looks} looks",
            lived.sessions
        );
        println!(
            "  descriptors {} to {}, resident {} to {} KiB",
            before.descriptors, after.descriptors, before.resident, after.resident
        );
    }
    println!("{days} days in {:?}", begun.elapsed());
}

const DAY: Duration = Duration::from_secs(24 * 3600);
