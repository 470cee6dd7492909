//! Published Noise vectors against the symmetric state, driven by a general engine that exists
//! only here: the shipped handshake fixes one pattern.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a step that fails fails the test"
)]

mod common;

use common::{arena, unhex};
use keyferry_protocol::aead;
use keyferry_protocol::agreement::{KeyPair, PublicKey};
use keyferry_protocol::handshake::schedule::SymmetricState;
use keyferry_protocol::memory::LockedBox;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    protocol_name: String,
    init_prologue: String,
    init_ephemeral: Option<String>,
    init_static: Option<String>,
    #[serde(default)]
    init_psks: Vec<String>,
    resp_ephemeral: Option<String>,
    resp_static: Option<String>,
    handshake_hash: Option<String>,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    payload: String,
    ciphertext: String,
}

/// One side of a handshake.
struct Party {
    state: SymmetricState,
    initiator: bool,
    ephemeral: Option<KeyPair>,
    own: Option<KeyPair>,
    their_ephemeral: Option<PublicKey>,
    their_static: Option<PublicKey>,
    psk: Option<LockedBox>,
    has_key: bool,
}

impl Party {
    fn write(&mut self, tokens: &[&str], payload: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        for token in tokens {
            match *token {
                "e" => {
                    let public = self.ephemeral.as_ref().unwrap().public();
                    message.extend_from_slice(&public.0);
                    self.mix_ephemeral(public);
                }
                "s" => {
                    let public = self.own.as_ref().unwrap().public();
                    self.state.encrypt_and_hash(&public.0, &mut message);
                }
                other => self.mix(other),
            }
        }
        self.state.encrypt_and_hash(payload, &mut message);
        message
    }

    fn read(&mut self, tokens: &[&str], mut message: &[u8]) -> Vec<u8> {
        for token in tokens {
            match *token {
                "e" => {
                    let (public, rest) = message.split_first_chunk::<32>().unwrap();
                    message = rest;
                    self.their_ephemeral = Some(PublicKey(*public));
                    self.mix_ephemeral(PublicKey(*public));
                }
                "s" => {
                    let (sealed, rest) = message.split_at(if self.has_key { 48 } else { 32 });
                    message = rest;
                    let public = self.state.decrypt_and_hash(sealed).unwrap();
                    self.their_static = Some(PublicKey(public.try_into().unwrap()));
                }
                other => self.mix(other),
            }
        }
        self.state.decrypt_and_hash(message).unwrap()
    }

    fn mix_ephemeral(&mut self, public: PublicKey) {
        self.state.mix_hash(&public.0);
        if self.psk.is_some() {
            self.state.mix_key(&public.0).unwrap();
            self.has_key = true;
        }
    }

    fn mix(&mut self, token: &str) {
        self.has_key = true;
        if token == "psk" {
            return self
                .state
                .mix_key_and_hash(self.psk.as_ref().unwrap())
                .unwrap();
        }
        let [first, second] = token.as_bytes() else {
            panic!("token {token}")
        };
        let (mine, theirs) = if self.initiator {
            (first, second)
        } else {
            (second, first)
        };
        let own = if *mine == b'e' {
            &self.ephemeral
        } else {
            &self.own
        };
        let peer = if *theirs == b'e' {
            self.their_ephemeral
        } else {
            self.their_static
        };
        self.state
            .mix_agreement(own.as_ref().unwrap(), peer.unwrap())
            .unwrap();
    }
}

/// Runs one vector; panics where a byte differs.
fn run(vector: &Vector) {
    let name = &vector.protocol_name;
    let pattern = name.split('_').nth(1).unwrap();
    let (before, mut turns) = pattern_of(pattern.split("psk").next().unwrap());
    if let Some(position) = pattern.split_once("psk").map(|(_, number)| number) {
        match position.parse::<usize>().unwrap() {
            0 => turns[0].insert(0, "psk"),
            after => turns[after - 1].push("psk"),
        }
    }
    let mut initiator = party(vector, true);
    let mut responder = party(vector, false);
    for pre in before {
        let owner = if *pre == "->s" {
            &initiator
        } else {
            &responder
        };
        let public = owner.own.as_ref().unwrap().public();
        initiator.state.mix_hash(&public.0);
        responder.state.mix_hash(&public.0);
        let other = if *pre == "->s" {
            &mut responder
        } else {
            &mut initiator
        };
        other.their_static = Some(public);
    }
    let (handshake, transport) = vector.messages.split_at(turns.len());
    for (turn, (tokens, message)) in turns.iter().zip(handshake).enumerate() {
        let (writer, reader) = if turn % 2 == 0 {
            (&mut initiator, &mut responder)
        } else {
            (&mut responder, &mut initiator)
        };
        let written = writer.write(tokens, &unhex(&message.payload));
        assert_eq!(
            written,
            unhex(&message.ciphertext),
            "{name}: message {turn}"
        );
        assert_eq!(
            reader.read(tokens, &written),
            unhex(&message.payload),
            "{name}: {turn}"
        );
    }
    if let Some(hash) = &vector.handshake_hash {
        assert_eq!(
            initiator.state.transcript().to_vec(),
            unhex(hash),
            "{name}: hash"
        );
        assert_eq!(
            responder.state.transcript().to_vec(),
            unhex(hash),
            "{name}: hash"
        );
    }
    run_transport(initiator, turns.len(), transport, name);
}

fn run_transport(initiator: Party, turns: usize, messages: &[Message], name: &str) {
    let one_way = turns == 1;
    let keys = initiator.state.split_keys().unwrap();
    let mut counters = [0u64; 2];
    for (number, message) in messages.iter().enumerate() {
        let direction = if one_way { 0 } else { (turns + number) % 2 };
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counters[direction].to_be_bytes());
        counters[direction] += 1;
        let mut body = unhex(&message.payload);
        let tag = aead::seal(&keys[direction], nonce, &[], &mut body);
        body.extend_from_slice(&tag);
        assert_eq!(
            body,
            unhex(&message.ciphertext),
            "{name}: transport {number}"
        );
    }
}

fn party(vector: &Vector, initiator: bool) -> Party {
    let arena = arena();
    let pair = |private: &Option<String>| {
        private
            .as_ref()
            .map(|private| KeyPair::from_private(arena.hold(&unhex(private)).unwrap()))
    };
    let (ephemeral, own) = if initiator {
        (pair(&vector.init_ephemeral), pair(&vector.init_static))
    } else {
        (pair(&vector.resp_ephemeral), pair(&vector.resp_static))
    };
    let name = vector.protocol_name.as_bytes();
    Party {
        state: SymmetricState::new(&arena, name, &unhex(&vector.init_prologue)).unwrap(),
        initiator,
        ephemeral,
        own,
        their_ephemeral: None,
        their_static: None,
        psk: vector
            .init_psks
            .first()
            .map(|psk| arena.hold(&unhex(psk)).unwrap()),
        has_key: false,
    }
}

type Pattern = (&'static [&'static str], Vec<Vec<&'static str>>);

/// Noise revision 34, §7.4, §7.5 and appendix 18.
fn pattern_of(name: &str) -> Pattern {
    let (before, turns): (&[&str], &str) = match name {
        "N" => (&["<-s"], "e es"),
        "K" => (&["->s", "<-s"], "e es ss"),
        "X" => (&["<-s"], "e es s ss"),
        "NN" => (&[], "e|e ee"),
        "NK" => (&["<-s"], "e es|e ee"),
        "NX" => (&[], "e|e ee s es"),
        "KN" => (&["->s"], "e|e ee se"),
        "KK" => (&["->s", "<-s"], "e es ss|e ee se"),
        "KX" => (&["->s"], "e|e ee se s es"),
        "XN" => (&[], "e|e ee|s se"),
        "XK" => (&["<-s"], "e es|e ee|s se"),
        "XX" => (&[], "e|e ee s es|s se"),
        "IN" => (&[], "e s|e ee se"),
        "IK" => (&["<-s"], "e es s ss|e ee se"),
        "IX" => (&[], "e s|e ee se s es"),
        "NK1" => (&["<-s"], "e|e ee es"),
        "NX1" => (&[], "e|e ee s|es"),
        "X1N" => (&[], "e|e ee|s|se"),
        "X1K" => (&["<-s"], "e es|e ee|s|se"),
        "XK1" => (&["<-s"], "e|e ee es|s se"),
        "X1K1" => (&["<-s"], "e|e ee es|s|se"),
        "X1X" => (&[], "e|e ee s es|s|se"),
        "XX1" => (&[], "e|e ee s|es s se"),
        "X1X1" => (&[], "e|e ee s|es s|se"),
        "K1N" => (&["->s"], "e|e ee|se"),
        "K1K" => (&["->s", "<-s"], "e es|e ee|se"),
        "KK1" => (&["->s", "<-s"], "e|e ee se es"),
        "K1K1" => (&["->s", "<-s"], "e|e ee es|se"),
        "K1X" => (&["->s"], "e|e ee s es|se"),
        "KX1" => (&["->s"], "e|e ee se s|es"),
        "K1X1" => (&["->s"], "e|e ee s|se es"),
        "I1N" => (&[], "e s|e ee|se"),
        "I1K" => (&["<-s"], "e es s|e ee|se"),
        "IK1" => (&["<-s"], "e s|e ee se es"),
        "I1K1" => (&["<-s"], "e s|e ee es|se"),
        "I1X" => (&[], "e s|e ee s es|se"),
        "IX1" => (&[], "e s|e ee se s|es"),
        "I1X1" => (&[], "e s|e ee s|se es"),
        other => panic!("pattern {other} is not in the table"),
    };
    let turns = turns
        .split('|')
        .map(|turn| turn.split(' ').collect())
        .collect();
    (before, turns)
}

#[test]
fn every_published_vector_of_the_suite_passes() {
    let all: Vectors = serde_json::from_str(PUBLISHED).unwrap();
    assert_eq!(all.vectors.len(), 59);
    for vector in &all.vectors {
        assert!(vector.protocol_name.ends_with("_25519_AESGCM_SHA256"));
        run(vector);
    }
}

const PUBLISHED: &str = include_str!("vectors/noise-25519-aesgcm-sha256.json");
