//! Memory that keeps a secret: room for it, and proof of it.

use keyferry_protocol::memory::{ProtectionLevel, self_test};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{HardenError, Step, Tolerance};

/// Proves the level of this machine. Locked against swap is the least, unless the operator accepts
/// less.
pub fn prove(tolerance: Tolerance) -> Result<(ProtectionLevel, Step), HardenError> {
    make_room();
    let level = match self_test() {
        Err(_not_even_locked) if tolerance == Tolerance::Degraded => ProtectionLevel::Unlocked,
        proven => proven.map_err(HardenError::Memory)?,
    };
    let step = Step {
        step: "locked_memory",
        level: level.to_string(),
        degraded: level < ProtectionLevel::MemfdSecret,
    };
    Ok((level, step))
}

/// Once the capabilities are gone this limit counts for root too: each key of each tool takes
/// 12 KiB of it. That it cannot be raised is no failure here: the proof decides.
fn make_room() {
    let now = getrlimit(Resource::Memlock);
    let wide = |limit: Option<u64>| limit.is_none_or(|bytes| bytes >= ROOM);
    if wide(now.current) {
        return;
    }
    let wanted = Rlimit {
        current: Some(ROOM),
        maximum: if wide(now.maximum) {
            now.maximum
        } else {
            Some(ROOM)
        },
    };
    if setrlimit(Resource::Memlock, wanted).is_err() {
        let reachable = Rlimit {
            current: now.maximum,
            maximum: now.maximum,
        };
        let _as_it_was = setrlimit(Resource::Memlock, reachable);
    }
}

const ROOM: u64 = 64 << 20;
