//! What a tool's process keeps when the agent ends. A test of its own program: it reads the
//! memory map of the whole process.

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read, Write};
    use std::mem::MaybeUninit;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;

    use keyferry_protocol::local::{Reply, Request, VERSION, split_frame};
    use keyferry_protocol::memory::{ProtectionLevel, SecretPage, self_test};
    use keyferry_sdk::{Error, blocking};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    #[test]
    fn the_handle_lets_go_of_its_page() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let agent = Agent::start(&path);
        let key = blocking::Client::connect_to(&path)
            .unwrap()
            .key("openai")
            .unwrap();
        assert_eq!(key.expose(<[u8]>::to_vec).unwrap(), b"sk-value");
        assert_eq!(shared_read_only_mappings(), 1);
        let within = key.expose(|outer| key.expose(|inner| inner == outer));
        assert!(within.unwrap().unwrap());

        // Nobody has to wait for a reader that takes its time.
        let later_changes = key.expose(|_| {
            agent.end();
            key.changes().count()
        });
        assert_eq!(later_changes.unwrap(), 0, "the changes end with the agent");
        assert!(matches!(key.expose(|_| ()), Err(Error::AgentGone)));
        assert!(matches!(key.now(), Err(Error::AgentGone)));
        assert_eq!(shared_read_only_mappings(), 0);
    }

    fn shared_read_only_mappings() -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let secret = |line: &&str| line.contains("secretmem") || line.contains("memfd:");
        maps.lines()
            .filter(secret)
            .filter(|line| line.contains(" r--s "))
            .count()
    }

    /// An agent that serves one tool one key, and whose page outlives it, as after a kill.
    struct Agent {
        serving: std::thread::JoinHandle<UnixStream>,
    }

    impl Agent {
        fn start(path: &Path) -> Self {
            let listener = UnixListener::bind(path).unwrap();
            Self {
                serving: std::thread::spawn(move || serve(&listener)),
            }
        }

        fn end(self) {
            drop(self.serving.join().unwrap());
        }
    }

    fn serve(listener: &UnixListener) -> UnixStream {
        let (mut stream, _) = listener.accept().unwrap();
        let protection = self_test().unwrap();
        assert!(matches!(
            request(&mut stream),
            Request::Hello { version: VERSION }
        ));
        stream
            .write_all(
                &Reply::Welcome {
                    version: VERSION,
                    protection,
                }
                .encode(),
            )
            .unwrap();
        let Request::Open { name, .. } = request(&mut stream) else {
            panic!("it opens a key")
        };
        hand_over(&stream, &Reply::Page { name, version: 1 }, protection);
        stream
    }

    fn request(stream: &mut UnixStream) -> Request {
        let mut received = Vec::new();
        loop {
            if let Some((payload, _)) = split_frame(&received).unwrap() {
                return Request::parse(payload).unwrap();
            }
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            received.extend(byte);
        }
    }

    fn hand_over(stream: &UnixStream, reply: &Reply, protection: ProtectionLevel) {
        let mut page = SecretPage::new(protection).unwrap();
        page.publish(1, b"sk-value");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [page.descriptor()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let frame = reply.encode();
        sendmsg(
            stream,
            &[IoSlice::new(&frame)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .unwrap();
        std::mem::forget(page);
    }
}
