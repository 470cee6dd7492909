//! Sealing to an offline party interoperates with the `hpke` crate, both ways.

mod common;

use common::{arena, rng};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use keyferry_protocol::agreement::{KeyPair, PublicKey};
use keyferry_protocol::sealed::{self, SealedError};

#[test]
fn what_we_seal_another_library_opens() {
    let arena = arena();
    let own = KeyPair::generate(&arena, &mut rng()).unwrap();
    let plain = arena.hold(b"sk-a-key-of-some-length").unwrap();
    let sealed = sealed::seal(&arena, &mut rng(), own.public(), b"info", &plain).unwrap();
    let (enc, body) = sealed.split_at(32);
    let key = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(own.expose()).unwrap();
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).unwrap();
    let opened = hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &key,
        &enc,
        b"info",
        body,
        b"",
    )
    .unwrap();
    assert_eq!(opened, b"sk-a-key-of-some-length");
}

#[test]
fn what_another_library_seals_we_open() {
    let arena = arena();
    let own = KeyPair::generate(&arena, &mut rng()).unwrap();
    let to = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&own.public().0).unwrap();
    let (enc, body) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &to,
        b"info",
        b"sk-value",
        b"",
        &mut rng(),
    )
    .unwrap();
    let sealed = [&enc.to_bytes()[..], &body].concat();
    assert_eq!(
        sealed::open(&arena, &own, b"info", &sealed)
            .unwrap()
            .expose(),
        b"sk-value"
    );
}

#[test]
fn another_purpose_name_version_or_key_does_not_open() {
    let arena = arena();
    let own = KeyPair::generate(&arena, &mut rng()).unwrap();
    let plain = arena.hold(b"sk-value").unwrap();
    let name = "openai".parse().unwrap();
    let info = sealed::put_info([1; 16], &name, 1);
    let sealed = sealed::seal(&arena, &mut rng(), own.public(), &info, &plain).unwrap();
    let refused = |key: &KeyPair, info: &[u8]| {
        matches!(
            sealed::open(&arena, key, info, &sealed),
            Err(SealedError::DoesNotOpen)
        )
    };
    assert!(refused(&own, &sealed::put_info([2; 16], &name, 1)));
    assert!(refused(
        &own,
        &sealed::put_info([1; 16], &"openai2".parse().unwrap(), 1)
    ));
    assert!(refused(&own, &sealed::put_info([1; 16], &name, 2)));
    assert!(refused(
        &KeyPair::generate(&arena, &mut rng()).unwrap(),
        &info
    ));
    assert!(!refused(&own, &info));
}

#[test]
fn every_flipped_bit_is_refused() {
    let arena = arena();
    let own = KeyPair::generate(&arena, &mut rng()).unwrap();
    let plain = arena.hold(b"sk-value").unwrap();
    let sealed = sealed::seal(&arena, &mut rng(), own.public(), b"", &plain).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // RFC 7748 §5: the top bit of a public key is ignored, but it is bound by the key schedule.
        assert!(
            sealed::open(&arena, &own, b"", &changed).is_err(),
            "bit {bit}"
        );
    }
}

#[test]
fn bytes_too_short_or_a_key_that_contributes_nothing_are_refused() {
    let arena = arena();
    let own = KeyPair::generate(&arena, &mut rng()).unwrap();
    for length in [0, 31, 32, 47] {
        assert!(sealed::open(&arena, &own, b"", &vec![9; length]).is_err());
    }
    let plain = arena.hold(b"x").unwrap();
    let outcome = sealed::seal(&arena, &mut rng(), PublicKey([0; 32]), b"", &plain);
    assert!(matches!(outcome, Err(SealedError::NotContributory(_))));
    assert!(matches!(
        sealed::open(&arena, &own, b"", &[0; 64]),
        Err(SealedError::NotContributory(_))
    ));
}
