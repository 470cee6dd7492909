//! The fault matrix: every fault for so many seconds, thirty unless given; prints a table.

use std::time::Duration;

use keyferry_tests::faults::{Fault, suffer};

#[tokio::main]
async fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let span = Duration::from_secs(seconds.unwrap_or(30));
    print("| fault | what came of it |\n| --- | --- |");
    for fault in Fault::ALL {
        let outcome = suffer(fault, span).await;
        print(&format!(
            "| {fault:?} for {} s | {outcome} |",
            span.as_secs()
        ));
    }
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn print(line: &str) {
    println!("{line}");
}
