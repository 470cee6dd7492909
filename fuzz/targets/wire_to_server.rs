//! The server reads a message of an agent.
#![no_main]

use keyferry_fuzz::ARENA;
use keyferry_protocol::channel::PADDING;
use keyferry_protocol::wire::ToServer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // Padding is tedious to guess.
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(PADDING), 0);
    check(&padded);
});

fn check(bytes: &[u8]) {
    if let Ok(message) = ToServer::decode(bytes) {
        let again = message
            .encode(&ARENA)
            .expect("what was read fits a message");
        assert!(again.expose() == bytes, "a message has two forms");
    }
}
