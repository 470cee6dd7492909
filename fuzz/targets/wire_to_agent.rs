//! The agent reads a message of its server.
#![no_main]

use keyferry_fuzz::{ARENA, padded_too};
use keyferry_protocol::wire::ToAgent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| padded_too(bytes, check));

fn check(bytes: &[u8]) {
    if let Ok(message) = ToAgent::decode(bytes) {
        let again = message
            .encode(&ARENA)
            .expect("what was read fits a message");
        assert!(again.expose() == bytes, "a message has two forms");
    }
}
