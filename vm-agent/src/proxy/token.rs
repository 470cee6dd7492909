//! Tokens: what a tool holds instead of a key.
//!
//! A token is good for one key, for the user that asked for it, and while the process that asked
//! for it lives. Here only its hash is kept.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use base64ct::{Base64UrlUnpadded, Encoding};
use keyferry_protocol::ids::KeyName;
use keyferry_sdk::status;
use sha2::{Digest, Sha256};

use super::refusal::Refused;
use crate::socket::{Peer, is_alive};

/// All tokens of this agent.
#[derive(Default)]
pub struct Tokens(HashMap<TokenId, Grant>);

/// `SHA-256(token)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId([u8; 32]);

/// The process that asked for a token.
#[derive(Debug)]
pub struct Holder {
    /// As it was then.
    pub peer: Peer,
    /// It itself.
    pub process: OwnedFd,
}

/// What a tool gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Lent {
    /// The provider preset of the key.
    pub provider: String,
    /// The token.
    pub token: String,
    /// Where it is good.
    pub port: u16,
}

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loan {
    /// The key.
    pub key: KeyName,
    /// The token.
    pub token: TokenId,
    /// Who asked for it.
    pub peer: Peer,
}

struct Grant {
    key: KeyName,
    holder: Holder,
    requests: u64,
    sent: u64,
    received: u64,
}

impl Tokens {
    /// A new token; `None` when there are too many, of all or of this process or user, or no random
    /// numbers.
    pub fn issue(&mut self, key: KeyName, holder: Holder) -> Option<String> {
        if !self.has_room(&holder) {
            self.forget_the_ended();
        }
        let mut random = [0; RANDOM];
        if !self.has_room(&holder) || getrandom::fill(&mut random).is_err() {
            return None;
        }
        let token = format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&random));
        let grant = Grant {
            key,
            holder,
            requests: 0,
            sent: 0,
            received: 0,
        };
        self.0.insert(TokenId::of(&token), grant);
        Some(token)
    }

    fn has_room(&self, holder: &Holder) -> bool {
        let of_user = |grant: &&Grant| grant.holder.peer.uid == holder.peer.uid;
        let of_process = |grant: &&Grant| grant.holder.peer.pid == holder.peer.pid;
        let grants = || self.0.values().filter(of_user);
        self.0.len() < MOST
            && grants().count() < MOST_OF_A_USER
            && grants().filter(of_process).count() < MOST_OF_A_PROCESS
    }

    /// Whether a process of this user that lives has one.
    pub(crate) fn are_held_by(&self, uid: u32) -> bool {
        let mut grants = self.0.values();
        grants.any(|grant| grant.holder.peer.uid == uid && is_alive(&grant.holder.process))
    }

    /// The key of a token that was given out, whoever shows it.
    pub(crate) fn key_of(&self, token: &str) -> Option<KeyName> {
        let grant = self.0.get(&TokenId::of(token));
        grant.map(|grant| grant.key.clone())
    }

    /// What a token stands for, when this user shows it.
    pub(crate) fn redeem(&mut self, token: &str, uid: u32) -> Result<Loan, Refused> {
        let id = TokenId::of(token);
        let grant = self.0.get(&id).ok_or(Refused::UnknownToken)?;
        if !is_alive(&grant.holder.process) {
            self.0.remove(&id);
            return Err(Refused::ProcessEnded);
        }
        if grant.holder.peer.uid != uid {
            return Err(Refused::OtherUser);
        }
        Ok(Loan {
            key: grant.key.clone(),
            token: id,
            peer: grant.holder.peer.clone(),
        })
    }

    /// Counts a request, or what it has moved.
    pub(crate) fn count(&mut self, token: TokenId, (requests, sent, received): (u64, u64, u64)) {
        if let Some(grant) = self.0.get_mut(&token) {
            grant.requests += requests;
            grant.sent += sent;
            grant.received += received;
        }
    }

    /// For people.
    pub fn report(&mut self) -> Vec<status::ProxyTool> {
        self.forget_the_ended();
        let line = |grant: &Grant| status::ProxyTool {
            key: grant.key.to_string(),
            pid: grant.holder.peer.pid,
            uid: grant.holder.peer.uid,
            requests: grant.requests,
            sent: grant.sent,
            received: grant.received,
        };
        let mut tools: Vec<_> = self.0.values().map(line).collect();
        tools.sort_by(|a, b| (a.pid, &a.key).cmp(&(b.pid, &b.key)));
        tools
    }

    fn forget_the_ended(&mut self) {
        self.0.retain(|_, grant| is_alive(&grant.holder.process));
    }
}

impl TokenId {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// The first token in a header's value or a path.
pub(super) fn token_in(bytes: &[u8]) -> Option<&str> {
    let start = bytes
        .windows(PREFIX.len())
        .position(|window| window == PREFIX.as_bytes())?;
    let token = std::str::from_utf8(bytes.get(start..start + LENGTH)?).ok()?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    token.bytes().all(letters).then_some(token)
}

const PREFIX: &str = "kfp_";
const RANDOM: usize = 32;
const LENGTH: usize = PREFIX.len() + 43;
const MOST: usize = 1024;
const MOST_OF_A_USER: usize = MOST / 2;
/// Every key that an agent can hold.
const MOST_OF_A_PROCESS: usize = MOST / 4;

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    fn holder(pid: Pid, uid: u32) -> Holder {
        let mut peer = Peer::of(uid, &[]);
        peer.pid = pid.as_raw_nonzero().get();
        let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        Holder { peer, process }
    }

    fn issued(tokens: &mut Tokens, uid: u32) -> String {
        let key = "openai".parse().unwrap();
        let holder = holder(rustix::process::getpid(), uid);
        tokens.issue(key, holder).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_user() {
        let mut tokens = Tokens::default();
        let token = issued(&mut tokens, 1000);
        let loan = tokens.redeem(&token, 1000).unwrap();
        assert_eq!(loan.key.as_str(), "openai");
        assert_eq!(tokens.redeem(&token, 1001), Err(Refused::OtherUser));
        assert_eq!(tokens.redeem(&token, 0), Err(Refused::OtherUser));
    }

    #[test]
    fn a_token_that_was_never_issued_is_unknown() {
        let mut tokens = Tokens::default();
        let mut token = issued(&mut tokens, 1000);
        token.pop();
        token.push('!');
        assert_eq!(tokens.redeem(&token, 1000), Err(Refused::UnknownToken));
    }

    #[test]
    fn a_token_ends_with_its_process() {
        let mut tokens = Tokens::default();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let holder = holder(Pid::from_child(&child), 1000);
        let token = tokens.issue("openai".parse().unwrap(), holder).unwrap();
        assert!(tokens.redeem(&token, 1000).is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(tokens.redeem(&token, 1000), Err(Refused::ProcessEnded));
        assert!(tokens.report().is_empty());
    }

    #[test]
    fn tokens_are_bounded_and_the_ended_make_room() {
        let mut tokens = Tokens::default();
        let token = issued(&mut tokens, 1);
        let id = TokenId::of(&token);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let mut ended = vec![holder(pid, 1)];
        child.wait().unwrap();
        for number in 1..MOST {
            let process = match ended.pop() {
                Some(holder) => holder.process,
                None => holder(rustix::process::getpid(), 1).process,
            };
            let user = u32::try_from(2 + number / MOST_OF_A_PROCESS).unwrap();
            let peer = Peer::of(user, &[]);
            let holder = Holder { peer, process };
            tokens.issue("openai".parse().unwrap(), holder).unwrap();
        }
        issued(&mut tokens, 1);
        let full = holder(rustix::process::getpid(), 1);
        assert!(tokens.issue("openai".parse().unwrap(), full).is_none());
        assert!(tokens.0.contains_key(&id));
    }

    #[test]
    fn a_process_and_a_user_leave_tokens_for_others() {
        let mut tokens = Tokens::default();
        let mut issue = |pid, uid| {
            let mut holder = holder(rustix::process::getpid(), uid);
            holder.peer.pid = pid;
            tokens.issue("openai".parse().unwrap(), holder).is_some()
        };
        let issued = |issue: &mut dyn FnMut(i32, u32) -> bool, pid| {
            (0..MOST).take_while(|_| issue(pid, 1000)).count()
        };
        assert_eq!(issued(&mut issue, 1), MOST_OF_A_PROCESS);
        assert_eq!(issued(&mut issue, 2), MOST_OF_A_USER - MOST_OF_A_PROCESS);
        assert_eq!(issued(&mut issue, 3), 0);
        assert!(issue(4, 1001));
    }

    #[test]
    fn only_the_living_hold_tokens() {
        let mut tokens = Tokens::default();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let of_child = holder(Pid::from_child(&child), 1000);
        tokens.issue("openai".parse().unwrap(), of_child).unwrap();
        assert!(tokens.are_held_by(1000) && !tokens.are_held_by(1001));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!tokens.are_held_by(1000));
    }

    #[test]
    fn tokens_are_found_where_sdks_put_them() {
        let token = issued(&mut Tokens::default(), 1);
        for text in [
            format!("Bearer {token}"),
            token.clone(),
            format!("realtime, openai-insecure-api-key.{token}, x"),
        ] {
            assert_eq!(token_in(text.as_bytes()), Some(token.as_str()));
        }
        for none in ["Bearer sk-123", "kfp_", "kfp_short", ""] {
            assert_eq!(token_in(none.as_bytes()), None);
        }
    }
}
