//! The agent's proxy finds the end of a chunked body.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| keyferry_agent::proxy::fuzzing::chunks(bytes));
