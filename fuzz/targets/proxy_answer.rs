//! The agent's proxy reads a host's answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| keyferry_agent::proxy::fuzzing::answer(bytes));
