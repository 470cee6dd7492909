//! The page of a key, mapped through the SDK and read again and again.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use keyferry_sdk::Error;
use keyferry_sdk::blocking::{Client, Key};

/// A page, and what is seen in it.
pub(crate) struct Page(Receiver<Sight>);

struct Sight {
    at: Instant,
    /// The version that can be read; `None` when the page is zeroed.
    version: Option<u32>,
}

impl Page {
    /// Maps it once the agent has the key, and waits for its value.
    pub(crate) fn open(socket: &str, key: &str) -> Self {
        let client = Client::connect_to(socket).unwrap();
        let begin = Instant::now();
        let key = loop {
            match client.key(key) {
                Ok(key) => break key,
                Err(error) => assert!(begin.elapsed() < PATIENCE, "{error}"),
            }
            thread::sleep(Duration::from_millis(1));
        };
        let (sights, seen) = channel();
        thread::spawn(move || watch(&key, &sights));
        let page = Self(seen);
        assert_eq!(page.next().version, Some(1));
        page
    }

    /// When it first showed this version, or zeros.
    pub(crate) fn shows(&self, version: Option<u32>) -> Instant {
        let sight = self.next();
        assert_eq!(sight.version, version, "the page shows something else");
        sight.at
    }

    fn next(&self) -> Sight {
        self.0.recv_timeout(PATIENCE).unwrap()
    }
}

fn watch(key: &Key, sights: &Sender<Sight>) {
    let mut before = None;
    loop {
        let version = match key.expose_version(|version, _value| version) {
            Ok(version) => Some(version),
            Err(Error::Revoked) => None,
            Err(error) => panic!("{error}"),
        };
        if before != Some(version) {
            before = Some(version);
            let at = Instant::now();
            if sights.send(Sight { at, version }).is_err() || version.is_none() {
                return;
            }
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}

const BETWEEN_LOOKS: Duration = Duration::from_micros(20);
const PATIENCE: Duration = Duration::from_secs(10);
