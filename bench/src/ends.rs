//! Both ends of a handshake in one process.

use getrandom::SysRng;
use keyferry_protocol::agreement::KeyPair;
use keyferry_protocol::channel::Channel;
use keyferry_protocol::handshake::agent::{self, AwaitReply, Hello};
use keyferry_protocol::handshake::server::{self, AwaitProof};
use keyferry_protocol::handshake::{Claims, CredentialKind, CredentialRef, Suite};
use keyferry_protocol::ids::{CredentialId, InstanceId};
use keyferry_protocol::memory::{Arena, LockedBox, self_test};
use rand_core::UnwrapErr;

/// The keys of an agent and of a server.
pub struct Ends {
    /// Where everything secret is.
    pub arena: Arena,
    /// The server's static key.
    pub server: KeyPair,
    agent: KeyPair,
    secret: LockedBox,
}

impl Ends {
    /// Fresh keys.
    pub fn new() -> Self {
        let arena = Arena::new(self_test().unwrap()).unwrap();
        let pair = || KeyPair::generate(&arena, &mut UnwrapErr(SysRng)).unwrap();
        let (server, agent) = (pair(), pair());
        let secret = arena.random(32, &mut UnwrapErr(SysRng)).unwrap();
        Self {
            server,
            agent,
            secret,
            arena,
        }
    }

    /// `-> e, es`
    pub fn first(&self) -> (AwaitReply<'_>, Vec<u8>) {
        let hello = Hello {
            server_key: self.server.public(),
            suite: Suite::Hybrid,
            instance: InstanceId([1; 16]),
            credential: CredentialRef {
                kind: CredentialKind::Ticket,
                id: CredentialId([2; 16]),
            },
            agent_key: &self.agent,
        };
        agent::begin(&self.arena, &mut UnwrapErr(SysRng), hello).unwrap()
    }

    /// `<- e, ee`
    pub fn second(&self, first: &[u8]) -> (AwaitProof, Vec<u8>) {
        let offered = server::receive(&self.arena, &self.server, Suite::Hybrid, first).unwrap();
        offered.reply(&mut UnwrapErr(SysRng)).unwrap()
    }

    /// `-> s, se, psk`
    pub fn third(&self, agent: AwaitReply<'_>, second: &[u8]) -> (Channel, Vec<u8>) {
        let claims = Claims {
            boot_id: [3; 16],
            agent_version: "0.1.0".into(),
            protection: self.arena.level(),
            capabilities: 0,
        };
        agent.finish(second, &self.secret, &claims).unwrap()
    }

    /// The server's look at the third message.
    pub fn prove(&self, server: AwaitProof, third: &[u8]) -> Channel {
        server.verify(third, &self.secret).unwrap().channel
    }

    /// A whole handshake.
    pub fn connect(&self) -> (Channel, Channel) {
        let (agent, first) = self.first();
        let (server, second) = self.second(&first);
        let (agent, third) = self.third(agent, &second);
        (agent, self.prove(server, &third))
    }
}

impl Default for Ends {
    fn default() -> Self {
        Self::new()
    }
}
