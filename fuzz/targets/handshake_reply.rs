//! The agent reads the server's reply.
#![no_main]

use keyferry_fuzz::{begun, claims, replied, secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((how, bytes)) = input.split_first() else {
        return;
    };
    if how & 1 == 0 {
        let (agent, _first) = begun();
        assert!(
            agent.finish(bytes, &secret(), &claims()).is_err(),
            "a forged reply was accepted"
        );
    } else {
        let (agent, _server, reply) = replied();
        let changed = changed(&reply, bytes);
        let accepted = agent.finish(&changed, &secret(), &claims()).is_ok();
        assert_eq!(
            accepted,
            changed == reply,
            "a changed reply was accepted or an honest one not"
        );
    }
});

/// The honest message with the input laid over it.
fn changed(honest: &[u8], over: &[u8]) -> Vec<u8> {
    let mut message = honest.to_vec();
    message
        .iter_mut()
        .zip(over)
        .for_each(|(byte, change)| *byte ^= change);
    message
}
