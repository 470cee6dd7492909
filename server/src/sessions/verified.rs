//! The memory of access tokens whose signature was checked before.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::token::CheckedClaims;
use crate::store::UnixTime;

/// Remembers checked tokens by their SHA-256, no longer than they live and no more than a bound.
/// It never says that a token still counts: that is the session's affair.
pub(crate) struct VerifiedTokens(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    claims: HashMap<[u8; 32], CheckedClaims>,
    oldest_first: VecDeque<[u8; 32]>,
}

impl VerifiedTokens {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    /// The claims of a token that was checked before and has not expired.
    pub(super) fn recall(&self, hash: &[u8; 32], now: UnixTime) -> Option<CheckedClaims> {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory
            .claims
            .get(hash)
            .copied()
            .filter(|claims| claims.counts_at(now))
    }

    pub(super) fn remember(&self, hash: [u8; 32], claims: CheckedClaims) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.claims.insert(hash, claims).is_none() {
            memory.oldest_first.push_back(hash);
        }
        if memory.oldest_first.len() > BOUND
            && let Some(oldest) = memory.oldest_first.pop_front()
        {
            memory.claims.remove(&oldest);
        }
    }
}

const BOUND: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::{BOUND, CheckedClaims, VerifiedTokens};
    use crate::store::UnixTime;

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let tokens = VerifiedTokens::new();
        let now = UnixTime::from_microseconds(0);
        let name = |number: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_le_bytes());
            hash
        };
        for number in 0..=BOUND {
            tokens.remember(
                name(number),
                CheckedClaims::until(UnixTime::from_microseconds(9)),
            );
        }
        assert!(tokens.recall(&name(0), now).is_none());
        assert!(tokens.recall(&name(BOUND), now).is_some());
        assert_eq!(tokens.0.lock().unwrap().claims.len(), BOUND);
    }

    #[test]
    fn an_expired_token_is_not_recalled() {
        let tokens = VerifiedTokens::new();
        tokens.remember(
            [1; 32],
            CheckedClaims::until(UnixTime::from_microseconds(0)),
        );
        assert!(
            tokens
                .recall(&[1; 32], UnixTime::from_microseconds(60_000_000))
                .is_none()
        );
    }
}
