//! Every route that takes a body reads it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| keyferry_server::fuzzing::json_body(bytes));
