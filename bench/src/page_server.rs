//! The least agent that the SDK can talk to: one tool, one page.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use keyferry_protocol::local::{Reply, Request, VERSION, split_frame};
use keyferry_protocol::memory::{SecretPage, self_test};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Serves `value` to one tool at `socket` from a thread, for as long as the tool is connected.
pub fn serve_one_page(socket: &Path, value: &[u8]) {
    let listener = UnixListener::bind(socket).unwrap();
    let level = self_test().unwrap();
    let mut page = SecretPage::new(level).unwrap();
    page.publish(1, value);
    std::thread::spawn(move || {
        let (mut tool, _) = listener.accept().unwrap();
        while let Some(request) = next_request(&mut tool) {
            match request {
                Request::Hello { .. } => {
                    let welcome = Reply::Welcome {
                        version: VERSION,
                        protection: level,
                    };
                    tool.write_all(&welcome.encode()).unwrap();
                }
                Request::Open { name, .. } => {
                    pass(&tool, &Reply::Page { name, version: 1 }.encode(), &page);
                }
                Request::Status => {}
            }
        }
    });
}

fn next_request(tool: &mut UnixStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        if let Some((payload, _)) = split_frame(&bytes).unwrap() {
            return Some(Request::parse(payload).unwrap());
        }
        let mut byte = [0];
        tool.read_exact(&mut byte).ok()?;
        bytes.extend(byte);
    }
}

fn pass(tool: &UnixStream, frame: &[u8], page: &SecretPage) {
    let descriptors = [page.descriptor()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = sendmsg(
        tool,
        &[IoSlice::new(frame)],
        &mut control,
        SendFlags::empty(),
    )
    .unwrap();
    assert_eq!(sent, frame.len(), "a frame is shorter than a socket buffer");
}
