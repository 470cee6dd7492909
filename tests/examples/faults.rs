//! The fault matrix: every fault for so many seconds, thirty unless given, or one of them by its
//! name; prints a table, and fails where something does not hold.

use std::process::Command;
use std::time::Duration;

use keyferry_tests::faults::{Fault, suffer};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok());
    let seconds: u64 = seconds.unwrap_or(30);
    if let Some(name) = arguments.next() {
        let named = Fault::ALL
            .into_iter()
            .find(|fault| format!("{fault:?}") == name);
        return bear(named.expect("this is the name of a fault"), seconds).await;
    }
    print("| fault | what came of it |\n| --- | --- |");
    for fault in Fault::ALL {
        match fault.namespace() {
            Some(namespace) => in_a_namespace_of_its_own(fault, (namespace, seconds)),
            None => bear(fault, seconds).await,
        }
    }
}

async fn bear(fault: Fault, seconds: u64) {
    let outcome = suffer(fault, Duration::from_secs(seconds)).await;
    print(&format!("| {fault:?} for {seconds} s | {outcome} |"));
    outcome.holds();
}

fn in_a_namespace_of_its_own(fault: Fault, (namespace, seconds): (&str, u64)) {
    let again = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .arg(namespace)
        .arg(again)
        .args([seconds.to_string(), format!("{fault:?}")]);
    let ended = command
        .status()
        .expect("unshare is part of every distribution");
    assert!(ended.success(), "{fault:?} does not hold");
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn print(line: &str) {
    println!("{line}");
}
