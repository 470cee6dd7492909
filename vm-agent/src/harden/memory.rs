//! Memory that keeps a secret: room for it, and proof of it.

use keyferry_protocol::memory::{ProtectionLevel, self_test};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{HardenError, Step};

/// Proves the level of this machine. Locked against swap is the least: without that the agent does
/// not run, whatever its operator allows.
pub fn prove() -> Result<(ProtectionLevel, Step), HardenError> {
    make_room();
    let level = self_test().map_err(HardenError::Memory)?;
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
