//! The agent's account of itself.

use keyferry_protocol::ids::KeyName;
use keyferry_sdk::status::{self, Connection, ConnectionState, Hardening, Health, Status};

use super::advice::advice;
use super::{Agent, lock};
use crate::harden::Step;
use crate::keyring::Keyring;
use keyferry_sdk::lease::Verdict;

/// What is known of the session with the server.
#[derive(Debug)]
pub struct Uplink {
    /// Where it stands.
    pub state: ConnectionState,
    /// The server last tried.
    pub server: Option<String>,
    /// This machine's id there.
    pub vm: Option<String>,
    /// Attempts since the last session ended.
    pub attempts: u32,
    /// What a person is to approve.
    pub approval: Option<status::Approval>,
    /// Why the last attempt or session ended.
    pub last_error: Option<String>,
    /// Whether there has been a session at all.
    pub ever_connected: bool,
    /// Whether the open session has told all keys: from its first lease on.
    pub told_all: bool,
}

impl Default for Uplink {
    fn default() -> Self {
        Self {
            state: ConnectionState::Connecting,
            server: None,
            vm: None,
            attempts: 0,
            approval: None,
            last_error: None,
            ever_connected: false,
            told_all: false,
        }
    }
}

impl Agent {
    /// Everything that a person may know of this agent.
    pub fn status(&self) -> Status {
        let lease = self.lease_report();
        let (keys, tools, holds_any) =
            self.look(|keys| (keys.report(), keys.receivers(), keys.holds_any()));
        let limited = self.look(Keyring::limited_to_programs);
        let uplink = lock(&self.uplink);
        let mut advice = advice(self.protection, uplink.state);
        if self.parts.programs.is_none() {
            advice.extend(limited.iter().map(unmet));
        }
        let connected = uplink.state == ConnectionState::Connected;
        Status {
            health: match (connected && uplink.told_all, lease) {
                (true, _) => Health::Healthy,
                (false, Some(_)) if holds_any || !connected => Health::Stale,
                (false, _) => Health::Disconnected,
            },
            connected,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protection: self.protection.to_string(),
            connection: Connection {
                state: uplink.state,
                server: uplink.server.clone(),
                vm: uplink.vm.clone(),
                attempts: uplink.attempts,
                approval: uplink.approval.clone(),
            },
            last_error: uplink.last_error.clone(),
            lease,
            keys,
            tools,
            hardening: self.parts.steps.iter().map(hardening).collect(),
            proxy: Some(status::Proxy {
                port: self.parts.proxy_port,
                tools: lock(&self.tokens).report(),
            }),
            advice,
            left_out: 0,
        }
    }

    /// The same as JSON of at most so many bytes. Programs under `exec`, and then keys, are left out
    /// as far as they do not fit, and counted.
    pub fn status_within(&self, bytes: usize) -> Vec<u8> {
        let mut status = self.status();
        loop {
            let json = serde_json::to_vec(&status).expect("a status is plain data");
            if json.len() <= bytes || !leave_out_half(&mut status) {
                return json;
            }
        }
    }

    fn lease_report(&self) -> Option<status::Lease> {
        let lease = lock(&self.lease);
        let Verdict::Left(left) = lease.left(self.now()) else {
            return None;
        };
        let seconds = lease.length()?.as_secs();
        Some(status::Lease {
            seconds,
            left_seconds: left.as_secs(),
        })
    }
}

/// Whether there was anything to leave out.
fn leave_out_half(status: &mut Status) -> bool {
    let programs = status.proxy.as_mut().map(|proxy| &mut proxy.tools);
    let left_out = match programs {
        Some(programs) if !programs.is_empty() => halve(programs),
        _ => halve(&mut status.keys),
    };
    status.left_out += left_out;
    left_out > 0
}

fn halve<T>(list: &mut Vec<T>) -> usize {
    let kept = list.len() / 2;
    list.drain(kept..).count()
}

/// A rule that cannot be met gives a key to nobody.
fn unmet(key: &KeyName) -> String {
    format!(
        "{key} is limited to programs, which this agent does not tell apart, and so is given to \
         none: set [policy] identify_programs or programs_socket"
    )
}

fn hardening(step: &Step) -> Hardening {
    Hardening {
        step: step.step.to_owned(),
        level: step.level.clone(),
        degraded: step.degraded,
    }
}
