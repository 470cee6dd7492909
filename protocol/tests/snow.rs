//! Live interoperation with `snow`, an independent implementation of Noise, in both roles.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use common::{arena, rng};
use keyferry_protocol::agreement::{KeyPair, PublicKey, hkdf};
use keyferry_protocol::handshake::{Claims, CredentialKind, CredentialRef, Suite, agent, server};
use keyferry_protocol::ids::{CredentialId, InstanceId};
use keyferry_protocol::memory::{Arena, LockedBox, ProtectionLevel};
use sha2::{Digest, Sha256};

const NAME: &str = "Noise_XKpsk3_25519_AESGCM_SHA256";
const INSTANCE: InstanceId = InstanceId([9; 16]);
const CREDENTIAL: CredentialRef = CredentialRef {
    kind: CredentialKind::Ticket,
    id: CredentialId([5; 16]),
};

fn prologue(suite: Suite) -> Vec<u8> {
    let header = [b'K', b'F', 1, suite as u8];
    [&b"keyferry-agent/1\0"[..], &header, &INSTANCE.0].concat()
}

/// PROTOCOL.md §4, written a second time.
fn psk(ss: &[u8], secret: &LockedBox, ek: &[u8], ct: &[u8]) -> [u8; 32] {
    let shares = Sha256::new().chain_update(ek).chain_update(ct).finalize();
    let info = [&[1u8][..], &CREDENTIAL.id.0, &shares].concat();
    let mut out = [0; 32];
    let ikm = [ss, secret.expose()].concat();
    hkdf(b"keyferry-agent/1 psk3", &ikm, &info, &mut out);
    out
}

fn claims() -> Claims {
    Claims {
        boot_id: [3; 16],
        agent_version: "1.2.3".to_owned(),
        protection: ProtectionLevel::MemfdSecret,
        capabilities: 0,
    }
}

fn keys(arena: &Arena) -> (KeyPair, KeyPair, LockedBox) {
    let pair = || KeyPair::generate(arena, &mut rng()).unwrap();
    (pair(), pair(), arena.random(32, &mut rng()).unwrap())
}

fn padded(text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    bytes.resize(256, 0);
    bytes
}

#[test]
fn our_agent_agrees_with_snow_as_server() {
    let arena = arena();
    let (static_key, agent_key, secret) = keys(&arena);
    let hello = agent::Hello {
        server_key: static_key.public(),
        suite: Suite::Hybrid,
        instance: INSTANCE,
        credential: CREDENTIAL,
        agent_key: &agent_key,
    };
    let (waiting, first) = agent::begin(&arena, &mut rng(), hello).unwrap();
    assert_eq!(first.len(), 20 + 1249);

    let prologue = prologue(Suite::Hybrid);
    let mut snow = snow::Builder::new(NAME.parse().unwrap())
        .local_private_key(static_key.expose())
        .unwrap()
        .prologue(&prologue)
        .unwrap()
        .build_responder()
        .unwrap();
    // snow wants some PSK from the start of a psk pattern; the real one is set before message 3.
    let mut payload = vec![0; 65535];
    let length = snow.read_message(&first[20..], &mut payload).unwrap();
    payload.truncate(length);
    assert_eq!(payload[..17], [&[1u8][..], &CREDENTIAL.id.0].concat());
    let ek = payload[17..].to_vec();
    let kem = aws_lc_rs::kem::EncapsulationKey::new(&aws_lc_rs::kem::ML_KEM_768, &ek).unwrap();
    let (ct, ss) = kem.encapsulate().unwrap();
    let mut second = vec![0; 65535];
    let length = snow.write_message(ct.as_ref(), &mut second).unwrap();
    second.truncate(length);
    assert_eq!(second.len(), 1136);

    let (channel, third) = waiting.finish(&second, &secret, &claims()).unwrap();
    assert_eq!(third.len(), 128);
    snow.set_psk(3, &psk(ss.as_ref(), &secret, &ek, ct.as_ref()))
        .unwrap();
    let mut said = vec![0; 65535];
    let length = snow.read_message(&third, &mut said).unwrap();
    assert_eq!(length, 64);
    assert_eq!(snow.get_remote_static().unwrap(), agent_key.public().0);

    let mut transport = snow.into_transport_mode().unwrap();
    let (mut sender, mut receiver) = channel.split();
    let sealed = sender
        .seal(arena.hold(&padded(b"to snow")).unwrap())
        .unwrap();
    let length = transport.read_message(&sealed, &mut said).unwrap();
    assert_eq!(said[..length], padded(b"to snow"));
    let length = transport
        .write_message(&padded(b"from snow"), &mut said)
        .unwrap();
    assert_eq!(
        receiver.open(&said[..length]).unwrap().expose(),
        padded(b"from snow")
    );
}

#[test]
fn our_server_agrees_with_snow_as_agent() {
    let arena = arena();
    let (static_key, agent_key, secret) = keys(&arena);
    let prologue = prologue(Suite::Hybrid);
    let mut snow = snow::Builder::new(NAME.parse().unwrap())
        .local_private_key(agent_key.expose())
        .unwrap()
        .remote_public_key(&static_key.public().0)
        .unwrap()
        .prologue(&prologue)
        .unwrap()
        .build_initiator()
        .unwrap();
    let kem = aws_lc_rs::kem::DecapsulationKey::generate(&aws_lc_rs::kem::ML_KEM_768).unwrap();
    let ek = kem
        .encapsulation_key()
        .unwrap()
        .key_bytes()
        .unwrap()
        .as_ref()
        .to_vec();
    let payload = [&[1u8][..], &CREDENTIAL.id.0, &ek].concat();
    let mut buffer = vec![0; 65535];
    let length = snow.write_message(&payload, &mut buffer).unwrap();
    let first = [&[b'K', b'F', 1, 2], &INSTANCE.0[..], &buffer[..length]].concat();

    let offered = server::receive(&arena, &static_key, Suite::Hybrid, &first).unwrap();
    assert_eq!(offered.credential(), CREDENTIAL);
    assert_eq!(offered.instance(), INSTANCE);
    let (waiting, second) = offered.reply(&mut rng()).unwrap();
    let length = snow.read_message(&second, &mut buffer).unwrap();
    let ct = buffer[..length].to_vec();
    let ss = kem.decapsulate(ct.as_slice().into()).unwrap();
    snow.set_psk(3, &psk(ss.as_ref(), &secret, &ek, &ct))
        .unwrap();
    let payload = [&[3; 16][..], &[2, 0, 0, 0, 0, 5], b"1.2.3", &[0; 37]].concat();
    let length = snow.write_message(&payload, &mut buffer).unwrap();
    let proven = waiting.verify(&buffer[..length], &secret).unwrap();
    assert_eq!(proven.agent_key, agent_key.public());
    assert_eq!(proven.claims, claims());

    let mut transport = snow.into_transport_mode().unwrap();
    let (mut sender, mut receiver) = proven.channel.split();
    let length = transport
        .write_message(&padded(b"to server"), &mut buffer)
        .unwrap();
    assert_eq!(
        receiver.open(&buffer[..length]).unwrap().expose(),
        padded(b"to server")
    );
    let sealed = sender
        .seal(arena.hold(&padded(b"to agent")).unwrap())
        .unwrap();
    let length = transport.read_message(&sealed, &mut buffer).unwrap();
    assert_eq!(buffer[..length], padded(b"to agent"));
}

#[test]
fn public_keys_are_those_of_snow() {
    let arena = arena();
    let pair = snow::Builder::new(NAME.parse().unwrap())
        .generate_keypair()
        .unwrap();
    let ours = KeyPair::from_private(arena.hold(&pair.private).unwrap());
    assert_eq!(ours.public(), PublicKey(pair.public.try_into().unwrap()));
}
