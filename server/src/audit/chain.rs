//! How an event is bound to the one before it.
//!
//! ```text
//!  hash[0] = 32 zero bytes
//!  hash[n] = HMAC-SHA256(chain key, "keyferry audit/1\0" || chain[16] || n[8] || hash[n-1] || event)
//!  event   = id[16] || at[8] || correlation[16] || actor || action || subject || detail
//! ```
//!
//! Numbers are big-endian; a text is its length in eight bytes and its UTF-8, with a byte in front
//! of a subject that says whether there is one.

use aws_lc_rs::hmac;
use uuid::Uuid;

use super::key::ChainKey;
use crate::store::{AuditRecord, ChainId};

/// One place in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) chain: ChainId,
    pub(crate) seq: i64,
    pub(crate) hash: [u8; HASH],
}

/// The length of a hash.
pub(crate) const HASH: usize = 32;

impl Link {
    /// Before the first event.
    pub(crate) const fn origin(chain: ChainId) -> Self {
        Self {
            chain,
            seq: 0,
            hash: [0; HASH],
        }
    }

    /// The place of this event, which comes next.
    pub(crate) fn next(&self, key: &ChainKey, event: &AuditRecord) -> Self {
        let seq = self.seq + 1;
        let mut mac = key.mac(b"keyferry audit/1\0");
        mac.update(self.chain.bytes().as_slice());
        mac.update(&seq.to_be_bytes());
        mac.update(&self.hash);
        add_event(&mut mac, event);
        Self {
            chain: self.chain,
            seq,
            hash: finish(&mac),
        }
    }

    /// What vouches for this being where an operator has pruned the chain to:
    /// `HMAC-SHA256(chain key, "keyferry audit pruned/1\0" || chain[16] || n[8] || hash[n])`.
    pub(crate) fn pruned_mac(&self, key: &ChainKey) -> [u8; HASH] {
        let mut mac = key.mac(b"keyferry audit pruned/1\0");
        mac.update(self.chain.bytes().as_slice());
        mac.update(&self.seq.to_be_bytes());
        mac.update(&self.hash);
        finish(&mac)
    }
}

fn add_event(mac: &mut hmac::Context, event: &AuditRecord) {
    mac.update(Uuid::as_bytes(&event.id));
    mac.update(&event.at.microseconds().to_be_bytes());
    mac.update(Uuid::as_bytes(&event.correlation_id));
    add_text(mac, &event.actor);
    add_text(mac, &event.action);
    match &event.subject {
        Some(subject) => {
            mac.update(&[1]);
            add_text(mac, subject);
        }
        None => mac.update(&[0]),
    }
    add_text(mac, &event.detail);
}

fn add_text(mac: &mut hmac::Context, text: &str) {
    mac.update(&(text.len() as u64).to_be_bytes());
    mac.update(text.as_bytes());
}

fn finish(mac: &hmac::Context) -> [u8; HASH] {
    let tag = mac.clone().sign();
    tag.as_ref().try_into().expect("HMAC-SHA256 gives 32 bytes")
}
