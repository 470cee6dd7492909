//! What a refusal tells a person to do.

use keyferry_protocol::local::{Refusal, RefusalCode};

/// A refusal with its advice. `rule` is the rule that said no, or empty.
pub fn refusal(code: RefusalCode, rule: &str) -> Refusal {
    Refusal {
        code,
        rule: rule.to_owned(),
        advice: advice(code).to_owned(),
    }
}

fn advice(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::NotFound => {
            "no key of this name is delivered to this machine; its owner adds it with \
             `keyferry keys put`, or lets this VM have it"
        }
        RefusalCode::NotPermitted => {
            "this user may not have it; the administrator of this machine adds the user or a \
             group to that rule of the agent's settings"
        }
        RefusalCode::InjectOnly => {
            "this key never leaves the agent; its owner can allow raw reading with \
             `keyferry keys policy NAME --raw`"
        }
        RefusalCode::Revoked => "the key was revoked and is wiped; ask its owner for a new version",
        RefusalCode::LeaseOver => {
            "the agent lost its server for longer than the lease and wiped its keys; they come \
             back by themselves when the server is reached (see `keyferry-agent status`)"
        }
        RefusalCode::NotConnected => {
            "the agent has not reached its server yet; see `keyferry-agent status`"
        }
        RefusalCode::Busy => {
            "the agent has no room for it: let some of this user's programs end, close keys that are \
             not used, or raise the agent's limits and RLIMIT_MEMLOCK"
        }
        _ => "the request makes no sense to this agent; are both of the same version?",
    }
}
