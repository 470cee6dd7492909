//! What the targets share: an arena, reproducible randomness, and both ends of a handshake.
#![cfg(feature = "targets")]

use std::convert::Infallible;
use std::sync::LazyLock;

use keyferry_protocol::agreement::KeyPair;
use keyferry_protocol::channel::{Channel, PADDING};
use keyferry_protocol::handshake::agent::{self, AwaitReply, Hello};
use keyferry_protocol::handshake::server::{self, AwaitProof};
use keyferry_protocol::handshake::{Claims, CredentialKind, CredentialRef, Suite};
use keyferry_protocol::ids::{CredentialId, InstanceId};
use keyferry_protocol::memory::{Arena, LockedBox, ProtectionLevel, self_test};
use rand_core::{TryCryptoRng, TryRng};

/// Locked memory for the whole run.
pub static ARENA: LazyLock<Arena> = LazyLock::new(|| {
    let level = self_test().expect("fuzzing needs locked memory, as the programs do");
    Arena::new(level).expect("an arena can be made where the self-test passed")
});

static SERVER_KEY: LazyLock<KeyPair> = LazyLock::new(|| key_pair(1));
static AGENT_KEY: LazyLock<KeyPair> = LazyLock::new(|| key_pair(2));

/// The server's static key.
pub fn server_key() -> &'static KeyPair {
    &SERVER_KEY
}

/// The secret of the one credential.
pub fn secret() -> LockedBox {
    ARENA.hold(&[7; 32]).expect("32 bytes fit an arena")
}

/// What the agent says of itself.
pub fn claims() -> Claims {
    Claims {
        boot_id: [3; 16],
        agent_version: "0.1.0".into(),
        protection: ProtectionLevel::MemfdSecret,
        capabilities: 0,
    }
}

/// An agent that has sent its first message.
pub fn begun() -> (AwaitReply<'static>, Vec<u8>) {
    let hello = Hello {
        server_key: server_key().public(),
        suite: Suite::Hybrid,
        instance: InstanceId([4; 16]),
        credential: CredentialRef {
            kind: CredentialKind::Ticket,
            id: CredentialId([5; 16]),
        },
        agent_key: &AGENT_KEY,
    };
    agent::begin(&ARENA, &mut Counting(3), hello).expect("nothing foreign is in a first message")
}

/// A server that has answered, an agent that waits, and the answer.
pub fn replied() -> (AwaitReply<'static>, AwaitProof, Vec<u8>) {
    let (agent, first) = begun();
    let offered = server::receive(&ARENA, server_key(), Suite::Hybrid, &first);
    let offered = offered.expect("an honest first message is accepted");
    let (server, reply) = offered
        .reply(&mut Counting(4))
        .expect("an honest offer is answered");
    (agent, server, reply)
}

/// Both ends of an open channel.
pub fn connected() -> (Channel, Channel) {
    let (agent, server, reply) = replied();
    let (agent, third) = agent
        .finish(&reply, &secret(), &claims())
        .expect("honest reply");
    let proven = server.verify(&third, &secret()).expect("honest proof");
    (agent, proven.channel)
}

/// Tries a message as it is, and padded: padding is tedious to guess.
pub fn padded_too(bytes: &[u8], check: impl Fn(&[u8])) {
    check(bytes);
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(PADDING), 0);
    check(&padded);
}

fn key_pair(seed: u64) -> KeyPair {
    KeyPair::generate(&ARENA, &mut Counting(seed)).expect("32 bytes fit an arena")
}

/// The same numbers in every run, so that a crash can be run again. Not random at all.
pub struct Counting(pub u64);

impl TryRng for Counting {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|wide| (wide >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        Ok((self.0 ^ (self.0 >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Counting {}
