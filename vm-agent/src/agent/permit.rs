//! Whether a tool may have a key: by the rules of this machine, and by those of the key's owner.

use std::os::fd::AsFd;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::local::{Refusal, RefusalCode};
use keyferry_protocol::wire::ToolRule;

use super::{Agent, refusal};
use crate::programs::Program;
use crate::socket::Peer;

/// What is known of a tool's program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Identified {
    /// Nobody has asked.
    #[default]
    Unasked,
    /// It is this one.
    Known(Program),
    /// It cannot be told, for this reason.
    Unknown(String),
}

impl Agent {
    /// Learns a tool's program, where a rule for this key asks for it and nothing else keeps the key
    /// from the tool.
    pub async fn identify(&self, peer: &mut Peer, socket: impl AsFd, key: &KeyName) {
        let (asked, may_be_let) = self.look(|keys| {
            let tools = keys.tools(key);
            let asked = tools.iter().any(ToolRule::names_a_program);
            (asked, peer.may_be_let(tools))
        });
        let policy = &self.parts.policy;
        if !(asked || policy.asks_for_programs(key)) || !may_be_let || !policy.may_permit(peer, key)
        {
            return;
        }
        peer.program = match (&self.parts.programs, peer.process(socket)) {
            (None, _) => Identified::Unknown(
                "this agent does not tell programs apart; its administrator sets \
                 `[policy] identify_programs = true`"
                    .to_owned(),
            ),
            (_, None) => Identified::Unknown("the process has ended".to_owned()),
            (Some(programs), Some(process)) => match programs.of((peer.pid, peer.uid)).await {
                // Only while the process lived all the time, its number was its own.
                Ok(program) if crate::socket::is_alive(&process) => Identified::Known(program),
                Ok(_) => Identified::Unknown("the process has ended".to_owned()),
                Err(error) => Identified::Unknown(error.to_string()),
            },
        };
    }

    pub(super) fn permits(&self, peer: &Peer, key: &KeyName) -> Result<(), Refusal> {
        let by_machine = self.parts.policy.permits(peer, key);
        by_machine
            .and_then(|()| self.owner_permits(peer, key))
            .map_err(|rule| refusal(RefusalCode::NotPermitted, &because(peer, rule)))
    }

    fn owner_permits(&self, peer: &Peer, key: &KeyName) -> Result<(), String> {
        self.look(|keys| {
            if peer.is_let(keys.tools(key)) {
                Ok(())
            } else {
                Err(format!(
                    "tools of the policy of {key}, which its owner has set"
                ))
            }
        })
    }
}

/// The rule, and what kept it from fitting.
fn because(peer: &Peer, rule: String) -> String {
    match &peer.program {
        Identified::Unasked => rule,
        Identified::Known(program) => format!("{rule}; the program is {}", program.path),
        Identified::Unknown(reason) => format!("{rule}; {reason}"),
    }
}
