//! The agent's service, as the machine's own shell sees it.

use serde_json::Value;

use crate::shell::Shell;
use crate::until;

pub(crate) fn status(shell: &mut Shell) -> Option<Value> {
    // Its exit code says how the agent is, and its text says more.
    let told = shell
        .attempt("keyferry-agent status --json 2>/dev/null")
        .output;
    serde_json::from_str(&told).ok()
}

pub(crate) async fn until_live(shell: &mut Shell, names: &[&str]) {
    until(&format!("the agent holds {names:?}"), async || {
        let status = status(shell)?;
        let keys = status["keys"].as_array()?;
        let live = |name: &&str| {
            keys.iter()
                .any(|it| it["name"] == **name && it["state"] == "live")
        };
        (status["health"] == "healthy" && names.iter().all(live)).then_some(())
    })
    .await;
}

/// How often the agent has noticed, since it booted, that it is no longer what it was.
pub(crate) fn noticed(shell: &mut Shell) -> u32 {
    let log = "journalctl -u keyferry-agent -b -o cat --no-pager";
    let count = shell
        .attempt(&format!("{log} | grep -c 'all keys are wiped'"))
        .output;
    count.trim().parse().unwrap()
}

pub(crate) async fn until_noticed(shell: &mut Shell, before: u32) {
    until("the agent notices", async || {
        (noticed(shell) > before).then_some(())
    })
    .await;
}

pub(crate) async fn until_it_prints(shell: &mut Shell, count: &str) {
    until(count, async || {
        let printed = shell.attempt(count).output;
        (printed.trim().parse::<u32>().ok()? > 0).then_some(())
    })
    .await;
}

pub(crate) fn main_pid(shell: &mut Shell) -> String {
    let pid = shell.run("systemctl show keyferry-agent -p MainPID --value");
    pid.trim().to_owned()
}

pub(crate) fn session_of(line: &str) -> Option<&str> {
    let (_, fields) = line.split_once("session opened session=")?;
    fields.split(' ').next()
}
