//! Room for descriptors: each page of each tool is one, each token, and each connection.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As much as all the bounds together allow, where the machine does. What does not fit is refused
/// tool by tool.
pub fn make_room() {
    let now = getrlimit(Resource::Nofile);
    let current = now.maximum.map_or(ROOM, |most| most.min(ROOM));
    if now.current.is_none_or(|descriptors| descriptors >= current) {
        return;
    }
    let wanted = Rlimit {
        current: Some(current),
        maximum: now.maximum,
    };
    let _as_it_was = setrlimit(Resource::Nofile, wanted);
}

/// 256 tools with 32 pages, 1024 tokens, 512 connections of two sockets, and the rest.
const ROOM: u64 = 16_384;
