//! The handshake between our own two sides: what it gives, and everything that it refuses.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a step that fails fails the test"
)]

mod common;

use common::{arena, rng};
use keyferry_protocol::agreement::{KeyPair, PublicKey};
use keyferry_protocol::channel::{Channel, ChannelError};
use keyferry_protocol::handshake::{
    Claims, CredentialKind, CredentialRef, HandshakeError, Suite, agent, server,
};
use keyferry_protocol::ids::{CredentialId, InstanceId};
use keyferry_protocol::memory::{Arena, LockedBox, ProtectionLevel};

/// Both sides' keys and the credential between them.
struct Stage {
    arena: Arena,
    server_key: KeyPair,
    agent_key: KeyPair,
    secret: LockedBox,
    suite: Suite,
}

/// What one run gave.
struct Run {
    messages: [Vec<u8>; 3],
    agent: Channel,
    server: server::Proven,
}

impl Stage {
    fn new(suite: Suite) -> Self {
        let arena = arena();
        let pair = || KeyPair::generate(&arena, &mut rng()).unwrap();
        let secret = arena.random(32, &mut rng()).unwrap();
        Self {
            server_key: pair(),
            agent_key: pair(),
            secret,
            suite,
            arena,
        }
    }

    fn hello(&self) -> agent::Hello<'_> {
        agent::Hello {
            server_key: self.server_key.public(),
            suite: self.suite,
            instance: InstanceId([8; 16]),
            credential: CredentialRef {
                kind: CredentialKind::Reattach,
                id: CredentialId([4; 16]),
            },
            agent_key: &self.agent_key,
        }
    }

    fn claims() -> Claims {
        Claims {
            boot_id: [1; 16],
            agent_version: "0.1.0".to_owned(),
            protection: ProtectionLevel::Mlock,
            capabilities: 0,
        }
    }

    /// Runs the handshake, changing each message on its way.
    fn run(&self, change: impl Fn(usize, &mut Vec<u8>)) -> Result<Run, HandshakeError> {
        let (waiting, mut first) = agent::begin(&self.arena, &mut rng(), self.hello())?;
        change(0, &mut first);
        let offered = server::receive(&self.arena, &self.server_key, Suite::Classical, &first)?;
        let (proof, mut second) = offered.reply(&mut rng())?;
        change(1, &mut second);
        let (agent, mut third) = waiting.finish(&second, &self.secret, &Self::claims())?;
        change(2, &mut third);
        let server = proof.verify(&third, &self.secret)?;
        Ok(Run {
            messages: [first, second, third],
            agent,
            server,
        })
    }
}

fn message(arena: &Arena, text: &[u8]) -> LockedBox {
    let mut bytes = text.to_vec();
    bytes.resize(256, 0);
    arena.hold(&bytes).unwrap()
}

#[test]
fn both_sides_agree_in_both_suites() {
    for suite in [Suite::Classical, Suite::Hybrid] {
        let stage = Stage::new(suite);
        let run = stage.run(|_, _| {}).unwrap();
        assert_eq!(run.server.agent_key, stage.agent_key.public());
        assert_eq!(run.server.claims, Stage::claims());
        let (mut to_server, mut from_server) = run.agent.split();
        let (mut to_agent, mut from_agent) = run.server.channel.split();
        for text in [&b"one"[..], b"two", b""] {
            let sealed = to_agent.seal(message(&stage.arena, text)).unwrap();
            assert_eq!(
                from_server.open(&sealed).unwrap().expose()[..text.len()],
                *text
            );
            let sealed = to_server.seal(message(&stage.arena, text)).unwrap();
            assert_eq!(
                from_agent.open(&sealed).unwrap().expose()[..text.len()],
                *text
            );
        }
    }
}

#[test]
fn messages_have_the_documented_sizes() {
    let sizes = |suite| {
        Stage::new(suite)
            .run(|_, _| {})
            .unwrap()
            .messages
            .map(|message| message.len())
    };
    assert_eq!(sizes(Suite::Hybrid), [20 + 1249, 1136, 128]);
    assert_eq!(sizes(Suite::Classical), [20 + 65, 48, 128]);
}

#[test]
fn every_flipped_bit_of_the_classical_messages_is_refused() {
    every_flipped_bit_is_refused(Suite::Classical, [20 + 65, 48, 128]);
}

#[test]
fn every_flipped_bit_of_the_hybrid_messages_is_refused() {
    every_flipped_bit_is_refused(Suite::Hybrid, [20 + 1249, 1136, 128]);
}

/// On every core: there are twenty thousand handshakes to refuse.
fn every_flipped_bit_is_refused(suite: Suite, lengths: [usize; 3]) {
    let stage = &Stage::new(suite);
    let bits = lengths.into_iter().enumerate();
    let bits: Vec<_> = bits
        .flat_map(|(number, length)| (0..length * 8).map(move |bit| (number, bit)))
        .collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for share in bits.chunks(bits.len().div_ceil(cores)) {
            scope.spawn(move || {
                for (number, bit) in share {
                    let outcome = stage.run(|at, message| {
                        if at == *number {
                            message[bit / 8] ^= 1 << (bit % 8);
                        }
                    });
                    assert!(outcome.is_err(), "message {number}, bit {bit}");
                }
            });
        }
    });
}

#[test]
fn messages_of_other_lengths_are_refused() {
    let stage = Stage::new(Suite::Hybrid);
    let changes: [fn(&mut Vec<u8>); 3] = [
        Vec::clear,
        |message| message.push(0),
        |message| message.truncate(40),
    ];
    for number in 0..3 {
        for change in changes {
            let outcome = stage.run(|at, message| {
                if at == number {
                    change(message);
                }
            });
            assert!(outcome.is_err(), "message {number}");
        }
    }
}

#[test]
fn a_wrong_secret_is_refused() {
    let stage = Stage::new(Suite::Hybrid);
    let (waiting, first) = agent::begin(&stage.arena, &mut rng(), stage.hello()).unwrap();
    let offered = server::receive(&stage.arena, &stage.server_key, Suite::Hybrid, &first).unwrap();
    let (proof, second) = offered.reply(&mut rng()).unwrap();
    let guess = stage.arena.random(32, &mut rng()).unwrap();
    let (_channel, third) = waiting.finish(&second, &guess, &Stage::claims()).unwrap();
    assert!(matches!(
        proof.verify(&third, &stage.secret),
        Err(HandshakeError::DoesNotOpen)
    ));
}

#[test]
fn a_server_with_another_key_is_refused() {
    let stage = Stage::new(Suite::Hybrid);
    let (_waiting, first) = agent::begin(&stage.arena, &mut rng(), stage.hello()).unwrap();
    let other = KeyPair::generate(&stage.arena, &mut rng()).unwrap();
    let outcome = server::receive(&stage.arena, &other, Suite::Hybrid, &first);
    assert!(matches!(outcome, Err(HandshakeError::DoesNotOpen)));
}

#[test]
fn a_lower_suite_than_the_servers_is_refused() {
    let stage = Stage::new(Suite::Classical);
    let (_waiting, first) = agent::begin(&stage.arena, &mut rng(), stage.hello()).unwrap();
    let outcome = server::receive(&stage.arena, &stage.server_key, Suite::Hybrid, &first);
    assert!(matches!(outcome, Err(HandshakeError::Suite)));
}

#[test]
fn another_protocol_or_version_is_refused() {
    let stage = Stage::new(Suite::Hybrid);
    for position in [0, 1, 2] {
        let outcome = stage.run(|at, message| {
            if at == 0 {
                message[position] ^= 0x40;
            }
        });
        assert!(matches!(outcome, Err(HandshakeError::Version)));
    }
}

#[test]
fn a_low_order_point_is_refused() {
    let arena = arena();
    let stage = Stage::new(Suite::Hybrid);
    // RFC 7748 §6.1: the points of small order, all of which give zero.
    let low: [[u8; 32]; 2] = [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }];
    for point in low {
        let hello = agent::Hello {
            server_key: PublicKey(point),
            ..stage.hello()
        };
        let outcome = agent::begin(&arena, &mut rng(), hello);
        assert!(matches!(outcome, Err(HandshakeError::NotContributory(_))));
        let outcome = stage.run(|at, message| {
            if at == 0 {
                message[20..52].copy_from_slice(&point);
            }
        });
        assert!(matches!(outcome, Err(HandshakeError::NotContributory(_))));
    }
}

#[test]
fn a_repeated_or_reordered_transport_message_is_refused() {
    let stage = Stage::new(Suite::Hybrid);
    let run = stage.run(|_, _| {}).unwrap();
    let (_sender, mut receiver) = run.agent.split();
    let (mut sender, _receiver) = run.server.channel.split();
    let first = sender.seal(message(&stage.arena, b"first")).unwrap();
    let second = sender.seal(message(&stage.arena, b"second")).unwrap();
    receiver.open(&first).unwrap();
    assert!(matches!(
        receiver.open(&first),
        Err(ChannelError::DoesNotOpen)
    ));
    // The receiver has moved on, so the session is over for the next one as well.
    assert!(matches!(
        receiver.open(&second),
        Err(ChannelError::DoesNotOpen)
    ));
}

#[test]
fn a_transport_message_of_a_wrong_length_is_refused() {
    let stage = Stage::new(Suite::Hybrid);
    let run = stage.run(|_, _| {}).unwrap();
    let (mut sender, mut receiver) = run.agent.split();
    for length in [0, 15, 16, 17, 256, 271, 273, 65_536] {
        let outcome = receiver.open(&vec![0; length]);
        assert!(matches!(outcome, Err(ChannelError::Length(_))), "{length}");
    }
    let odd = stage.arena.take(255).unwrap();
    assert!(matches!(sender.seal(odd), Err(ChannelError::Length(255))));
}

#[test]
fn a_session_ends_after_its_last_message() {
    let stage = Stage::new(Suite::Classical);
    let run = stage.run(|_, _| {}).unwrap();
    let (mut sender, _receiver) = run.agent.split();
    let mut sealed = 0u64;
    loop {
        match sender.seal(stage.arena.take(256).unwrap()) {
            Ok(_) => sealed += 1,
            Err(ChannelError::UsedUp) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(sealed, 1 << 20);
}
