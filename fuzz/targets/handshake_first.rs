//! The server reads an agent's first message.
#![no_main]

use keyferry_fuzz::{ARENA, Counting, server_key};
use keyferry_protocol::handshake::{Suite, server};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    for minimum in [Suite::Classical, Suite::Hybrid] {
        if let Ok(offered) = server::receive(&ARENA, server_key(), minimum, message) {
            assert!(
                offered.suite() >= minimum,
                "a lower suite than demanded was accepted"
            );
            let _ = offered.reply(&mut Counting(9));
        }
    }
});
