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
use crate::socket::is_alive;

/// All tokens of this agent.
#[derive(Default)]
pub struct Tokens(HashMap<TokenId, Grant>);

/// `SHA-256(token)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId([u8; 32]);

/// The process that asked for a token.
#[derive(Debug)]
pub struct Holder {
    /// Its number.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
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
    /// The user that it was checked for.
    pub uid: u32,
}

struct Grant {
    key: KeyName,
    holder: Holder,
    requests: u64,
    sent: u64,
    received: u64,
}

impl Tokens {
    /// A new token; `None` when there are too many, or no random numbers.
    pub fn issue(&mut self, key: KeyName, holder: Holder) -> Option<String> {
        if self.0.len() >= MOST {
            self.forget_the_ended();
        }
        let mut random = [0; RANDOM];
        if self.0.len() >= MOST || getrandom::fill(&mut random).is_err() {
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

    /// What a token stands for, when this user shows it.
    pub(crate) fn redeem(&mut self, token: &str, uid: u32) -> Result<Loan, Refused> {
        let id = TokenId::of(token);
        let grant = self.0.get(&id).ok_or(Refused::UnknownToken)?;
        if !is_alive(&grant.holder.process) {
            self.0.remove(&id);
            return Err(Refused::ProcessEnded);
        }
        if grant.holder.uid != uid {
            return Err(Refused::OtherUser);
        }
        Ok(Loan {
            key: grant.key.clone(),
            token: id,
            uid,
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
            pid: grant.holder.pid,
            uid: grant.holder.uid,
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

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    fn holder(pid: Pid, uid: u32) -> Holder {
        Holder {
            pid: pid.as_raw_nonzero().get(),
            uid,
            process: pidfd_open(pid, PidfdFlags::empty()).unwrap(),
        }
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
        while tokens.0.len() < MOST {
            let process = match ended.pop() {
                Some(holder) => holder.process,
                None => holder(rustix::process::getpid(), 1).process,
            };
            let holder = Holder {
                pid: 1,
                uid: 1,
                process,
            };
            tokens.issue("openai".parse().unwrap(), holder).unwrap();
        }
        issued(&mut tokens, 1);
        let full = holder(rustix::process::getpid(), 1);
        assert!(tokens.issue("openai".parse().unwrap(), full).is_none());
        assert!(tokens.0.contains_key(&id));
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
