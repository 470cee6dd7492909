//! The agent reads what a person pasted as a ticket.
#![no_main]

use base64ct::{Base64UrlUnpadded, Encoding};
use keyferry_fuzz::ARENA;
use keyferry_protocol::ticket::Ticket;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The checksum would keep the fuzzer from everything behind it.
    let sum = Sha256::digest(bytes);
    let whole = [bytes, &sum[..4]].concat();
    check(format!("kft1_{}", Base64UrlUnpadded::encode_string(&whole)).as_bytes());
});

fn check(text: &[u8]) {
    if let Ok(ticket) = Ticket::parse(&ARENA, text) {
        let printed = ticket.print(&ARENA).expect("what was read can be printed");
        assert!(
            printed.expose() == text.trim_ascii(),
            "a ticket has two forms"
        );
    }
}
