//! The server looks at the bytes of a request head before anything parses them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| keyferry_server::fuzzing::request_head(bytes));
