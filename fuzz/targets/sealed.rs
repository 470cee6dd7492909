//! The server opens a value that was sealed by anybody.
#![no_main]

use keyferry_fuzz::{ARENA, Counting, server_key};
use keyferry_protocol::sealed::{open, put_info, seal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let name = "openai".parse().expect("a valid name");
    let info = put_info([1; 16], &name, 1);
    let plain = ARENA.hold(b"sk-value").expect("eight bytes fit an arena");
    let to = server_key().public();
    let honest = seal(&ARENA, &mut Counting(5), to, &info, &plain).expect("a short value");
    // The fuzzer learns the honest bytes from the comparisons that it watches.
    let opened = open(&ARENA, server_key(), &info, bytes).is_ok();
    assert_eq!(opened, bytes == honest, "a forgery opened");
    let mut changed = honest.clone();
    changed
        .iter_mut()
        .zip(bytes)
        .for_each(|(byte, change)| *byte ^= change);
    let opened = open(&ARENA, server_key(), &info, &changed).is_ok();
    // The highest bit of an X25519 public key is ignored (RFC 7748 §5), but bound by the KEM.
    assert_eq!(opened, changed == honest, "only honest values open");
});
