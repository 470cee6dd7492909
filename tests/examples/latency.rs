//! Measures how long a rotation takes from the REST request to the page of a tool.
//!
//! Both processes read `CLOCK_MONOTONIC`: this one before it sends, the tool when it sees the new
//! version in its page. The time includes opening the sealed value, sealing it at rest, the commit,
//! sealing it for the session, and the tool's own looking (every 20 microseconds).
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement fails by panicking"
)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use base64ct::{Base64UrlUnpadded, Encoding};
use getrandom::SysRng;
use hyper::Method;
use keyferry_cli::rest::{Ask, Line, Rest};
use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::memory::{Arena, self_test};
use keyferry_protocol::sealed::{put_info, seal};
use keyferry_sdk::tls::ServerTrust;
use keyferry_tests::{Secret, example};
use rand_core::UnwrapErr;
use rustix::time::{ClockId, clock_gettime};
use secrecy::SecretString;
use serde_json::{Value, json};

/// What each rotation needs.
struct Owner {
    line: Line,
    arena: Arena,
    server_key: PublicKey,
    user_id: [u8; 16],
    token: SecretString,
    key: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, pin, socket, user, key, rotations] = &arguments[..] else {
        panic!("usage: latency SERVER FINGERPRINT SOCKET USER KEY ROTATIONS, password on stdin")
    };
    let trust = ServerTrust::Pinned(pin.parse().unwrap());
    let mut owner = Owner::sign_in(Rest::new(server.parse().unwrap(), trust), user, key).await;
    let (mut tool, mut events) = start_tool(socket, key);
    let version = next_version(&mut events).1;
    let mut times = Vec::new();
    for version in version + 1..=version + rotations.parse::<u64>().unwrap() {
        let begin = owner.rotate(version).await;
        let (seen_at, seen) = next_version(&mut events);
        assert_eq!(seen, version, "the tool saw another version");
        times.push(seen_at - begin);
    }
    tool.kill().unwrap();
    tool.wait().unwrap();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1] / 1000;
    println!(
        "{}",
        json!({ "rotations": times.len(), "p50_us": at(50), "p99_us": at(99), "max_us": at(100) })
    );
}

impl Owner {
    async fn sign_in(rest: Rest, user: &str, key: &str) -> Self {
        let mut password = String::new();
        std::io::stdin().read_to_string(&mut password).unwrap();
        let mut line = rest.open().await.unwrap();
        let body = json!({ "username": user, "password": password.trim_end() }).to_string();
        let ask = Ask::new(Method::POST, "/auth/login").json(body.into());
        let session = line.exchange(ask).await.unwrap().success().unwrap();
        let ask = Ask::new(Method::GET, "/.well-known/keyferry");
        let published = line.exchange(ask).await.unwrap().body;
        let mut server_key = [0; 32];
        Base64UrlUnpadded::decode(text(&published, "hpke_key"), &mut server_key).unwrap();
        let digits = text(&session, "user_id").replace('-', "");
        Self {
            line,
            arena: Arena::new(self_test().unwrap()).unwrap(),
            server_key: PublicKey(server_key),
            user_id: u128::from_str_radix(&digits, 16).unwrap().to_be_bytes(),
            token: text(&session, "access_token").into(),
            key: key.to_owned(),
        }
    }

    /// Rotates to a fresh value, and tells when it was sent.
    async fn rotate(&mut self, version: u64) -> u64 {
        let number = u32::try_from(version).unwrap();
        let info = put_info(self.user_id, &self.key.parse().unwrap(), number);
        let value = self.arena.hold(Secret::fresh().text().as_bytes()).unwrap();
        let rng = &mut UnwrapErr(SysRng);
        let sealed = seal(&self.arena, rng, self.server_key, &info, &value).unwrap();
        let sealed = Base64UrlUnpadded::encode_string(&sealed);
        let body = json!({ "sealed": sealed, "version": version }).to_string();
        let path = format!("/keys/{}/rotate", self.key);
        let ask = Ask::new(Method::POST, &path)
            .signed_in(&self.token)
            .json(body.into());
        self.line.ready().await.unwrap();
        let begin = monotonic_ns();
        self.line.exchange(ask).await.unwrap().success().unwrap();
        begin
    }
}

fn start_tool(socket: &str, key: &str) -> (Child, BufReader<ChildStdout>) {
    let mut tool = Command::new(example("tool"))
        .args([
            "--socket",
            socket,
            "--key",
            key,
            "--poll",
            "--every-us",
            "20",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let events = BufReader::new(tool.stdout.take().unwrap());
    (tool, events)
}

/// When the tool saw the next version, and which.
fn next_version(events: &mut impl BufRead) -> (u64, u64) {
    let mut line = String::new();
    events.read_line(&mut line).unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    (
        event["at_ns"].as_u64().unwrap(),
        event["version"].as_u64().unwrap(),
    )
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}
