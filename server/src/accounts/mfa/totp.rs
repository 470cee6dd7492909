//! Time-based one-time passwords, RFC 6238 with SHA-1, 30 seconds and 6 digits, which is what
//! every authenticator app knows.
//!
//! ```text
//!  code = truncate(HMAC-SHA1(secret, step as 8 bytes)) mod 10^6, step = seconds / 30
//! ```

use aws_lc_rs::hmac;
use keyferry_protocol::memory::{LockedBox, scrub};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::store::UnixTime;

/// The step in which a code counts, one late or early included, or none.
pub(super) fn step_of(secret: &LockedBox, code: u32, now: UnixTime) -> Option<i64> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose());
    let present = now.seconds() / PERIOD;
    let mut found = -1_i64;
    for step in (present - 1)..=(present + 1) {
        let matches = code_at(&key, step).ct_eq(&code);
        found.conditional_assign(&step, matches);
    }
    drop(key);
    scrub();
    (found >= 0).then_some(found)
}

fn code_at(key: &hmac::Key, step: i64) -> u32 {
    let tag = hmac::sign(key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    let offset = usize::from(bytes.last().map_or(0, |last| last & 15));
    let word = bytes.iter().skip(offset).take(4);
    let word = word.fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
    (word & 0x7FFF_FFFF) % 1_000_000
}

/// Seconds in a step.
const PERIOD: i64 = 30;

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use keyferry_protocol::memory::{Arena, ProtectionLevel};

    use super::{code_at, step_of};
    use crate::store::UnixTime;

    #[test]
    fn the_vectors_of_rfc_6238_hold() {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345678901234567890");
        for (seconds, code) in [
            (59, 287_082),
            (1_111_111_109, 81_804),
            (1_111_111_111, 50_471),
            (1_234_567_890, 5_924),
            (2_000_000_000, 279_037),
            (20_000_000_000, 353_130),
        ] {
            assert_eq!(code_at(&key, seconds / 30), code, "at {seconds}");
        }
    }

    #[test]
    fn a_code_counts_one_step_late_or_early() {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let secret = arena.hold(b"12345678901234567890").unwrap();
        let at = |step: i64| UnixTime::from_seconds(step * 30 + 7);
        let step = 1_111_111_111 / 30;
        for (now, expected) in [
            (step - 2, None),
            (step - 1, Some(step)),
            (step, Some(step)),
            (step + 1, Some(step)),
            (step + 2, None),
        ] {
            assert_eq!(step_of(&secret, 50_471, at(now)), expected);
        }
    }
}
