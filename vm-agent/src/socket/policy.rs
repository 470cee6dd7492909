//! Who may have which key.

use keyferry_protocol::ids::KeyName;

use super::Peer;
use crate::config::{KeyRule, PolicyConfig, ProgramRule};

/// The rules of this agent.
#[derive(Debug, Clone)]
pub struct Policy {
    config: PolicyConfig,
    own_uid: u32,
    socket_gid: u32,
}

impl Policy {
    /// The rules of `config`, around an agent of this user and a socket of this group.
    pub fn new(config: PolicyConfig, own_uid: u32, socket_gid: u32) -> Self {
        Self {
            config,
            own_uid,
            socket_gid,
        }
    }

    /// Whether this peer may talk to the agent at all; otherwise the rule that says no.
    pub fn admits(&self, peer: &Peer) -> Result<(), String> {
        let by_key = self.config.keys.values().any(|rule| is_named(rule, peer));
        if by_key { Ok(()) } else { self.general(peer) }
    }

    /// Whether anybody is named beside those whom the socket's own mode lets in.
    pub fn names_others(&self) -> bool {
        let config = &self.config;
        let others = |uids: &[u32], gids: &[u32]| {
            let known = |uid: &u32| [ROOT, self.own_uid].contains(uid);
            !uids.iter().all(known) || gids.iter().any(|gid| *gid != self.socket_gid)
        };
        let by_rule = |rule: &KeyRule| is_for_everybody(rule) || others(&rule.uids, &rule.gids);
        others(&config.uids, &config.gids) || config.keys.values().any(by_rule)
    }

    /// Whether this peer may have this key; otherwise the rule that says no.
    pub fn permits(&self, peer: &Peer, key: &KeyName) -> Result<(), String> {
        match self.config.keys.get(key) {
            Some(rule) if matches(rule, peer) => Ok(()),
            Some(_) => Err(format!("[policy.keys.{key}]")),
            None => self.general(peer),
        }
    }

    /// The same, whatever its program turns out to be.
    pub fn may_permit(&self, peer: &Peer, key: &KeyName) -> bool {
        match self.config.keys.get(key) {
            Some(rule) => is_named(rule, peer),
            None => self.general(peer).is_ok(),
        }
    }

    /// Whether the rule of this key names programs.
    pub fn asks_for_programs(&self, key: &KeyName) -> bool {
        let rule = self.config.keys.get(key);
        rule.is_some_and(|rule| !rule.programs.is_empty())
    }

    fn general(&self, peer: &Peer) -> Result<(), String> {
        let known = peer.uid == ROOT || peer.uid == self.own_uid || peer.is_in(self.socket_gid);
        let rule = &self.config;
        let listed = rule.uids.contains(&peer.uid) || rule.gids.iter().any(|gid| peer.is_in(*gid));
        if known || listed {
            Ok(())
        } else {
            Err("[policy] uids, gids".to_owned())
        }
    }
}

fn matches(rule: &KeyRule, peer: &Peer) -> bool {
    let runs = |program: &ProgramRule| {
        let sha256 = program.sha256.as_ref().map(|hash| &hash.0);
        peer.runs(program.exe.as_deref(), sha256)
    };
    is_named(rule, peer) && (rule.programs.is_empty() || rule.programs.iter().any(runs))
}

/// By user or group; a rule that only names programs is for every user.
fn is_named(rule: &KeyRule, peer: &Peer) -> bool {
    is_for_everybody(rule)
        || rule.uids.contains(&peer.uid)
        || rule.gids.iter().any(|gid| peer.is_in(*gid))
}

fn is_for_everybody(rule: &KeyRule) -> bool {
    rule.uids.is_empty() && rule.gids.is_empty() && !rule.programs.is_empty()
}

const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Identified;
    use crate::programs::Program;

    fn policy(text: &str) -> Policy {
        Policy::new(toml::from_str(text).unwrap(), 990, 991)
    }

    fn key(text: &str) -> KeyName {
        text.parse().unwrap()
    }

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer::of(uid, groups)
    }

    #[test]
    fn by_default_the_agents_user_its_group_and_root_may_have_any_key() {
        let policy = policy("");
        for peer in [peer(990, &[]), peer(0, &[]), peer(1000, &[1000, 991])] {
            assert_eq!(policy.admits(&peer), Ok(()));
            assert_eq!(policy.permits(&peer, &key("openai")), Ok(()));
        }
    }

    #[test]
    fn by_default_nobody_else_may() {
        let stranger = peer(1000, &[1000, 27]);
        let rule = Err("[policy] uids, gids".to_owned());
        assert_eq!(policy("").admits(&stranger), rule);
        assert_eq!(policy("").permits(&stranger, &key("openai")), rule);
    }

    #[test]
    fn the_socket_is_opened_for_others_when_a_rule_names_some() {
        for text in [
            "uids = [1000]",
            "gids = [27]",
            "[keys.openai]\nuids = [1001]",
            "[keys.openai]\nprograms = [{ exe = \"/usr/bin/curl\" }]",
        ] {
            assert!(policy(text).names_others(), "{text}");
        }
        for text in [
            "",
            "uids = [0, 990]\ngids = [991]",
            "[keys.openai]\nuids = [0]",
        ] {
            assert!(!policy(text).names_others(), "{text}");
        }
    }

    #[test]
    fn listed_users_and_groups_may_have_any_key() {
        let policy = policy("uids = [1000]\ngids = [27]");
        assert_eq!(policy.permits(&peer(1000, &[]), &key("openai")), Ok(()));
        assert_eq!(policy.permits(&peer(1001, &[27]), &key("openai")), Ok(()));
        assert!(policy.permits(&peer(1001, &[28]), &key("openai")).is_err());
    }

    #[test]
    fn the_rule_of_a_key_stands_alone() {
        let policy = policy("uids = [1000]\n[keys.openai]\nuids = [1001]");
        assert_eq!(policy.permits(&peer(1001, &[]), &key("openai")), Ok(()));
        for uid in [0, 990, 1000] {
            let rule = Err("[policy.keys.openai]".to_owned());
            assert_eq!(policy.permits(&peer(uid, &[991]), &key("openai")), rule);
        }
    }

    #[test]
    fn who_may_have_one_key_may_connect_and_have_no_other() {
        let policy = policy("[keys.openai]\ngids = [50]");
        let tool = peer(1001, &[50]);
        assert_eq!(policy.admits(&tool), Ok(()));
        assert!(policy.permits(&tool, &key("groq")).is_err());
    }

    #[test]
    fn a_rule_that_names_programs_admits_these_alone() {
        let policy = policy("[keys.openai]\nprograms = [{ exe = \"/usr/bin/curl\" }]");
        let mut tool = peer(1001, &[]);
        assert_eq!(policy.admits(&tool), Ok(()));
        assert!(
            policy.permits(&tool, &key("openai")).is_err(),
            "nobody knows what it runs"
        );
        let program = |path: &str| {
            Identified::Known(Program {
                path: path.to_owned(),
                sha256: [0; 32],
            })
        };
        tool.program = program("/usr/bin/wget");
        assert!(policy.permits(&tool, &key("openai")).is_err());
        tool.program = program("/usr/bin/curl");
        assert_eq!(policy.permits(&tool, &key("openai")), Ok(()));
        assert!(policy.permits(&tool, &key("groq")).is_err());
    }
}
