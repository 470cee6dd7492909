//! The agent's proxy reads a tool's request and writes it anew with a key.
#![no_main]

use keyferry_fuzz::ARENA;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| keyferry_agent::proxy::fuzzing::request(bytes, &ARENA));
