//! Measures how long a rotation takes to the page of a tool, and a revocation until it is zeroed
//! there: from the REST request, and from the moment when the server pushes it.
//!
//! Everything runs on one machine, so all of it reads one clock. This process sends the requests,
//! and has mapped the pages as any tool does; one of its threads reads them every 20 microseconds.
//! *Request* is read before the request is sent: it contains opening the sealed value, sealing it at
//! rest, and the commit. *Push* is the time that the server's log tells (at debug level): the value is
//! open and the delivery is written down, and what remains is sealing it for the session, TLS, the
//! agent, and the reading. For a revocation it also contains the server's word to its log.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement fails by panicking"
)]

mod log;
mod owner;
mod page;

use std::time::{Duration, Instant};

use serde_json::json;

use log::Log;
use owner::Owner;
use page::Page;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, pin, user, socket, log, count] = &arguments[..] else {
        panic!("usage: latency SERVER FINGERPRINT USER SOCKET SERVER_LOG COUNT, password on stdin")
    };
    let mut owner = Owner::sign_in((server, pin), user);
    let mut log = Log::at_its_end(log);
    let count: u32 = count.parse().unwrap();
    let rotation = rotations(&mut owner, socket, &mut log, count);
    let revocation = revocations(&mut owner, socket, &mut log, count);
    println!(
        "{}",
        json!({
            "count": count,
            "rotation_from_request": rotation.from_request.summary(),
            "rotation_from_push": rotation.from_push.summary(),
            "revocation_from_request": revocation.from_request.summary(),
            "revocation_from_push": revocation.from_push.summary(),
        })
    );
}

/// One key, and its page.
fn rotations(owner: &mut Owner, socket: &str, log: &mut Log, count: u32) -> Measured {
    let mut measured = Measured::default();
    owner.put(KEY);
    let page = Page::open(socket, KEY);
    for version in 2..=count + 1 {
        let sent = owner.rotate(KEY, version);
        let pushed = log.time_of("key pushed", &format!("key={KEY} version={version}"));
        measured.add((sent, pushed), page.shows(Some(version)));
    }
    owner.revoke(KEY);
    page.shows(None);
    owner.delete(KEY);
    measured
}

/// A key and a page for each.
fn revocations(owner: &mut Owner, socket: &str, log: &mut Log, count: u32) -> Measured {
    let mut measured = Measured::default();
    for number in 0..count {
        let key = format!("{KEY}-{number}");
        owner.put(&key);
        let page = Page::open(socket, &key);
        let sent = owner.revoke(&key);
        let pushed = log.time_of("revocation pushed", &format!("key={key}"));
        measured.add((sent, pushed), page.shows(None));
        owner.delete(&key);
    }
    measured
}

#[derive(Default)]
struct Measured {
    from_request: Times,
    from_push: Times,
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Measured {
    fn add(&mut self, (sent, pushed): (Instant, Instant), seen: Instant) {
        self.from_request.0.push(seen - sent);
        self.from_push.0.push(seen - pushed);
    }
}

impl Times {
    fn summary(mut self) -> serde_json::Value {
        self.0.sort_unstable();
        let at = |percent: usize| self.0[(self.0.len() * percent).div_ceil(100) - 1].as_micros();
        json!({ "p50_us": at(50), "p99_us": at(99), "max_us": at(100) })
    }
}

const KEY: &str = "latency";
