//! Keys at the proxy: a tool gets a token, and each of its requests gets the key.

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::local::{Refusal, RefusalCode};
use keyferry_protocol::wire::{Access, AccessKind};

use super::accesses::{no_key, opened};
use super::{Agent, lock, refusal};
use crate::keyring::{Keyring, Route};
use crate::proxy::{Aim, Holder, Lent, Loan, Refused};
use crate::socket::Peer;

impl Agent {
    /// Makes a token for a key, if the policy lets the tool use it.
    pub fn lend(&self, peer: &Peer, holder: Holder, key: &KeyName) -> Result<Lent, Refusal> {
        self.enforce_before_use();
        let outcome = self
            .permits(peer, key)
            .and_then(|()| {
                let route = self.look(|keys| keys.route(key));
                route.map_err(|code| refusal(self.why(code), ""))
            })
            .and_then(|route| {
                let token = lock(&self.tokens).issue(key.clone(), holder);
                let token = token.ok_or_else(|| refusal(RefusalCode::Busy, ""))?;
                Ok((route, token))
            });
        let version = outcome.as_ref().map_or(0, |(route, _)| route.version);
        self.note(key, version, (peer.uid, opened(&outcome)));
        outcome.map(|(route, token)| Lent {
            provider: route.provider,
            token,
            port: self.parts.proxy_port,
        })
    }

    /// Whether this user has a token at all.
    pub(crate) fn has_lent_to(&self, uid: u32) -> bool {
        lock(&self.tokens).are_held_by(uid)
    }

    /// What a token stands for, when this user shows it.
    pub(crate) fn redeem(&self, token: &str, uid: u32) -> Result<Loan, Refused> {
        let (key, loan) = {
            let mut tokens = lock(&self.tokens);
            (tokens.key_of(token), tokens.redeem(token, uid))
        };
        let loan = loan.and_then(|loan| self.still_lets(&loan).map(|()| loan));
        if let (Err(_), Some(key)) = (&loan, &key) {
            self.note(key, 0, (uid, AccessKind::Refused));
        }
        loan
    }

    /// The owner of a key may have named other tools since its token was made.
    fn still_lets(&self, loan: &Loan) -> Result<(), Refused> {
        let lets = self.look(|keys| loan.peer.is_let(keys.tools(&loan.key)));
        lets.then_some(()).ok_or(Refused::NotPermitted)
    }

    /// Where the key of a token goes, when a request wants to.
    pub(crate) fn route(&self, loan: &Loan) -> Result<Route, Refused> {
        self.enforce_before_use();
        self.route_of(loan)
            .inspect_err(|_refused| self.note_refused(loan))
    }

    fn route_of(&self, loan: &Loan) -> Result<Route, Refused> {
        let route = self.look(|keys| keys.route(&loan.key));
        route.map_err(|code| Refused::Key(self.why(code)))
    }

    /// Takes one request from the key's budget, however often it has to be sent. It is counted and
    /// told to the server.
    pub(crate) fn charge(&self, loan: &Loan) -> Result<(), Refused> {
        self.enforce_before_use();
        let route = self.route_of(loan);
        let version = route.as_ref().map_or(0, |route| route.version);
        let charged = route.and_then(|_route| self.spend(loan));
        let kind = match charged {
            Ok(()) => AccessKind::Requested,
            Err(_) => AccessKind::Refused,
        };
        self.note(&loan.key, version, (loan.peer.uid, kind));
        charged?;
        lock(&self.tokens).count(loan.token, (1, 0, 0));
        Ok(())
    }

    /// Reads the key for a request that was charged, if it may still go to where the way has been
    /// made: the owner of the key may have spoken since that was begun.
    pub(crate) fn inject<T>(
        &self,
        loan: &Loan,
        aim: &Aim,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Refused> {
        self.enforce_before_use();
        let read = self.look(|keys| {
            allows(keys, loan, aim)?;
            keys.expose(&loan.key, read).map_err(Refused::Key)
        });
        read.map_err(|refused| {
            self.note_refused(loan);
            self.explained(refused)
        })
    }

    /// Whether a request that is under way may go on.
    pub(crate) fn goes_on(&self, loan: &Loan, aim: &Aim) -> Result<(), Refused> {
        let allowed = self.look(|keys| allows(keys, loan, aim));
        allowed.map_err(|refused| self.explained(refused))
    }

    fn explained(&self, refused: Refused) -> Refused {
        match refused {
            Refused::Key(code) => Refused::Key(self.why(code)),
            other => other,
        }
    }

    /// Counts what a request has moved; the server is told.
    pub(crate) fn count(&self, loan: &Loan, (sent, received): (u64, u64)) {
        if (sent, received) == (0, 0) {
            return;
        }
        lock(&self.tokens).count(loan.token, (0, sent, received));
        lock(&self.keys).moved(&loan.key, (sent, received), self.now().wall);
        let version = self.look(|keys| keys.route(&loan.key).map_or(0, |route| route.version));
        let moved = Access {
            count: 0,
            sent,
            received,
            ..self.access(&loan.key, version, (loan.peer.uid, AccessKind::Requested))
        };
        lock(&self.accesses).note(moved);
    }

    fn spend(&self, loan: &Loan) -> Result<(), Refused> {
        let now = self.now();
        let spent = lock(&self.keys).spend(&loan.key, now);
        spent.map_err(Refused::Spent)
    }

    /// What else keeps a key from a request.
    pub(crate) fn note_refused(&self, loan: &Loan) {
        self.note(&loan.key, 0, (loan.peer.uid, AccessKind::Refused));
    }

    pub(super) fn note(&self, key: &KeyName, version: u32, (uid, kind): (u32, AccessKind)) {
        let mut access = self.access(key, version, (uid, kind));
        if !self.look(|keys| keys.knows(key)) {
            access.key = no_key();
        }
        lock(&self.accesses).note(access);
    }

    fn access(&self, key: &KeyName, version: u32, (uid, kind): (u32, AccessKind)) -> Access {
        Access {
            key: key.clone(),
            version,
            uid,
            at: u64::try_from(self.now().wall.as_micros()).unwrap_or(u64::MAX),
            count: 1,
            sent: 0,
            received: 0,
            kind,
        }
    }
}

/// By what the owner of the key has said last.
fn allows(keys: &Keyring, loan: &Loan, aim: &Aim) -> Result<(), Refused> {
    let route = keys.route(&loan.key).map_err(Refused::Key)?;
    aim.is_allowed(&route)?;
    let lets = loan.peer.is_let(keys.tools(&loan.key));
    lets.then_some(()).ok_or(Refused::NotPermitted)
}

#[cfg(test)]
mod tests {
    use keyferry_protocol::memory::{Arena, self_test};
    use keyferry_protocol::wire::{Delivery, KeyPolicy, Put, ToolRule};
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    use super::*;
    use crate::agent::Parts;
    use crate::config::{Limits, PolicyConfig};
    use crate::keyring::{Keyring, PageLimit};
    use crate::socket::Policy;
    use keyferry_sdk::lease::{Machine, SystemClock};

    /// Of version 1, with these hosts.
    fn put<'a>(key: &KeyName, hosts: &[&'a str]) -> Put<'a> {
        Put {
            key: key.clone(),
            version: 1,
            not_after: 0,
            provider: "openai",
            delivery: Delivery::Inject,
            allowed_hosts: hosts.to_vec(),
            policy: KeyPolicy::default(),
            value: b"sk-first",
        }
    }

    fn agent_with(put: &Put<'_>) -> Agent {
        let arena = Arena::new(self_test().unwrap()).unwrap();
        let parts = Parts {
            policy: Policy::new(PolicyConfig::default(), 1000, 1000),
            limits: Limits::default(),
            steps: Vec::new(),
            proxy_port: 1,
            programs: None,
            clock: Box::new(SystemClock::new(Machine::open())),
        };
        let agent = Agent::new(Keyring::new(arena, PageLimit(1)), parts);
        agent.change(|keys| keys.put(put));
        agent
    }

    fn lent(agent: &Agent, key: &KeyName) -> Lent {
        let peer = Peer::of(1000, &[]);
        let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        let holder = Holder {
            peer: peer.clone(),
            process,
        };
        agent.lend(&peer, holder, key).unwrap()
    }

    #[test]
    fn what_the_owner_says_while_the_way_is_made_counts() {
        let key: KeyName = "openai".parse().unwrap();
        let agent = agent_with(&put(&key, &["good.org", "bad.org"]));
        let lent = lent(&agent, &key);
        let loan = agent.redeem(&lent.token, 1000).unwrap();
        let route = agent.route(&loan).unwrap();
        let aim = |host: &str| Aim::of(Some(host.to_owned()), &route).unwrap();
        let (good, bad) = (aim("good.org"), aim("bad.org"));
        let value = |aim| agent.inject(&loan, aim, <[u8]>::to_vec);
        assert_eq!(value(&bad).unwrap(), b"sk-first");
        agent.change(|keys| keys.put(&put(&key, &["good.org"])));
        assert_eq!(value(&good).unwrap(), b"sk-first");
        assert_eq!(value(&bad), Err(Refused::HostNotAllowed));
        assert_eq!(agent.goes_on(&loan, &good), Ok(()));
        assert_eq!(agent.goes_on(&loan, &bad), Err(Refused::HostNotAllowed));
        let mut others = put(&key, &["good.org"]);
        others.policy.tools = vec![ToolRule {
            uid: Some(4711),
            ..ToolRule::default()
        }];
        agent.change(|keys| keys.put(&others));
        assert_eq!(value(&good), Err(Refused::NotPermitted));
        assert_eq!(agent.goes_on(&loan, &good), Err(Refused::NotPermitted));
    }

    #[test]
    fn a_token_in_the_hands_of_another_user_is_a_refused_access_of_his() {
        let key: KeyName = "openai".parse().unwrap();
        let agent = agent_with(&put(&key, &[]));
        let lent = lent(&agent, &key);
        assert!(agent.redeem(&lent.token, 1000).is_ok());
        assert_eq!(agent.redeem(&lent.token, 1001), Err(Refused::OtherUser));
        // What was never a token is nobody's key.
        assert_eq!(
            agent.redeem("kfp_made-up", 1001),
            Err(Refused::UnknownToken)
        );
        let told = agent.take_accesses();
        let told: Vec<_> = told
            .iter()
            .map(|one| (&one.key, one.uid, one.kind))
            .collect();
        assert_eq!(
            told,
            [
                (&key, 1001, AccessKind::Refused),
                (&key, 1000, AccessKind::Opened)
            ]
        );
    }
}
