//! The server reads an agent's proof.
#![no_main]

use keyferry_fuzz::{claims, replied, secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((how, bytes)) = input.split_first() else {
        return;
    };
    let (agent, server, reply) = replied();
    if how & 1 == 0 {
        assert!(
            server.verify(bytes, &secret()).is_err(),
            "a forged proof was accepted"
        );
    } else {
        let (_channel, third) = agent
            .finish(&reply, &secret(), &claims())
            .expect("honest reply");
        let mut message = third.clone();
        message
            .iter_mut()
            .zip(bytes)
            .for_each(|(byte, change)| *byte ^= change);
        let accepted = server.verify(&message, &secret()).is_ok();
        assert_eq!(
            accepted,
            message == third,
            "a changed proof was accepted or an honest one not"
        );
    }
});
