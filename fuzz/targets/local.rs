//! The agent and a tool read frames from the Unix socket.
#![no_main]

use keyferry_protocol::local::{Reply, Request, split_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((payload, taken))) = split_frame(rest) {
        let (frame, later) = rest.split_at(taken);
        if let Ok(request) = Request::parse(payload) {
            assert_eq!(request.encode(), frame, "a request has two forms");
        }
        if let Ok(reply) = Reply::parse(payload) {
            assert_eq!(reply.encode(), frame, "a reply has two forms");
        }
        rest = later;
    }
});
