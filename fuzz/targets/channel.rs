//! A channel opens a message that its peer did not seal.
#![no_main]

use keyferry_fuzz::{ARENA, connected};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((how, bytes)) = input.split_first() else {
        return;
    };
    let (agent, server) = connected();
    let (mut sender, _) = server.split();
    let (_, mut receiver) = agent.split();
    let plain = ARENA.hold(&[0; 256]).expect("one block fits an arena");
    let sealed = sender.seal(plain).expect("one block can be sealed");
    let mut message = if how & 1 == 0 {
        Vec::new()
    } else {
        sealed.clone()
    };
    if message.is_empty() {
        message.extend_from_slice(bytes);
    } else {
        message
            .iter_mut()
            .zip(bytes)
            .for_each(|(byte, change)| *byte ^= change);
    }
    assert_eq!(
        receiver.open(&message).is_ok(),
        message == sealed,
        "only honest messages open"
    );
});
