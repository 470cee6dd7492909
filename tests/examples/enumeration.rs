//! Can the time of a refused login tell which accounts exist? A rank test says.
//!
//! Logins with a wrong password are sent for accounts in every state and for names that nobody has,
//! in random order, one at a time. Each state is compared with the unknown name by the rank-sum
//! test of Mann and Whitney. The program fails when a state can be told apart, or when an answer
//! differs by a byte. Takes about a minute in release.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement fails by panicking"
)]

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Instant;

use getrandom::SysRng;
use hyper::{Method, StatusCode};
use keyferry_tests::{Engine, PASSWORD, Server, Stage};
use rand_core::{Rng, UnwrapErr};
use serde_json::json;

/// Whose login is tried, and from where.
struct Subject {
    what: &'static str,
    name: &'static str,
    address: &'static str,
    /// Microseconds of each try.
    times: Vec<f64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let stage = Stage::new(Engine::Sqlite).await;
    let mut free = Server::start_with(&stage, &settings("1000000"));
    for name in ["known", "disabled", "pending", "locked"] {
        let account = json!({ "username": name, "password": PASSWORD });
        let made = free.ask(Method::POST, "/auth/register", None, Some(account));
        assert_eq!(made.await.status, StatusCode::CREATED);
    }
    for change in [
        "UPDATE users SET status = 'disabled' WHERE username = 'disabled'",
        "UPDATE users SET status = 'pending' WHERE username = 'pending'",
    ] {
        assert_eq!(stage.change(change).await, 1);
    }
    println!("refused for a wrong password, {TRIES} tries each:");
    let open = [
        ("unknown", "nobody", "198.51.100.1"),
        ("known", "known", "198.51.100.2"),
        ("disabled", "disabled", "198.51.100.3"),
        ("pending", "pending", "198.51.100.4"),
        ("unknown again", "no-one", "198.51.100.5"),
    ];
    let mut same = compare(&free, 401, open.map(subject));
    free.kill();
    let strict = Server::start_with(&stage, &settings("5"));
    println!("refused because of too many failures, {TRIES} tries each:");
    let locked = [
        ("unknown", "nobody", "203.0.113.11"),
        ("locked", "locked", "203.0.113.12"),
        ("unknown again", "no-one", "203.0.113.13"),
    ]
    .map(subject);
    for subject in &locked {
        (0..5).for_each(|_| assert_eq!(attempt(&strict, subject).0, 401));
    }
    same &= compare(&strict, 429, locked);
    if same {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Each subject is its own address toward the server, so that only its own failures lock it.
fn settings(failures: &str) -> [(&'static str, &str); 4] {
    [
        ("KEYFERRY_PLAIN_HTTP", "true"),
        ("KEYFERRY_TRUSTED_PROXIES", "127.0.0.1"),
        ("AUTH_MAX_FAILED_ATTEMPTS", failures),
        ("AUTH_MAX_ACCOUNT_FAILURES", "1000000"),
    ]
}

fn subject((what, name, address): (&'static str, &'static str, &'static str)) -> Subject {
    Subject {
        what,
        name,
        address,
        times: Vec::with_capacity(TRIES),
    }
}

/// Tries all in turn, in an order that is drawn anew each round.
fn compare<const N: usize>(server: &Server, status: u16, mut subjects: [Subject; N]) -> bool {
    let mut rng = UnwrapErr(SysRng);
    let mut answers = Vec::new();
    for round in 0..WARM_UP + TRIES {
        for last in (1..N).rev() {
            let other = usize::try_from(rng.next_u64() % (last as u64 + 1)).unwrap();
            subjects.swap(last, other);
        }
        for subject in &mut subjects {
            let begin = Instant::now();
            let (told, body) = attempt(server, subject);
            let time = begin.elapsed().as_secs_f64() * 1e6;
            assert_eq!(told, status, "{}", subject.what);
            if round >= WARM_UP {
                subject.times.push(time);
                answers.push(body);
            }
        }
    }
    answers.sort_unstable();
    answers.dedup();
    println!("  {} different answers", answers.len());
    subjects.sort_by_key(|subject| subject.what != "unknown");
    let [unknown, rest @ ..] = &subjects[..] else {
        unreachable!("there are several subjects")
    };
    let mut same = answers.len() == 1;
    for subject in rest {
        let z = rank_sum(&unknown.times, &subject.times);
        let told_apart = z.abs() > TOLD_APART;
        println!(
            "  {:14} median {:>8.0} us, unknown {:>8.0} us, z = {z:+.2}{}",
            subject.what,
            median(&subject.times),
            median(&unknown.times),
            if told_apart { "  TOLD APART" } else { "" }
        );
        same &= !told_apart;
    }
    same
}

/// One wrong login on a connection of its own: the status, and the whole answer but for what
/// counts time and requests.
fn attempt(server: &Server, subject: &Subject) -> (u16, String) {
    let body = json!({ "username": subject.name, "password": "Violet-Harbour-7-Lanterm" });
    let body = body.to_string();
    let mut connection = server.connect();
    write!(
        connection,
        "POST /auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
         X-Forwarded-For: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        subject.address,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let fields = ["date:", "x-request-id:", "retry-after:", "ratelimit"];
    let stays = |line: &&str| {
        !fields
            .iter()
            .any(|field| line.to_lowercase().starts_with(field))
    };
    (status, answer.lines().filter(stays).collect())
}

/// The rank-sum statistic of two samples as a standard normal deviate, ties sharing their rank.
fn rank_sum(one: &[f64], other: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = one.iter().map(|time| (*time, true)).collect();
    all.extend(other.iter().map(|time| (*time, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut ranks = 0.0;
    let mut below = 0;
    for ties in all.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let ours = ties.iter().filter(|(_, ours)| *ours).count();
        let rank = as_number(below) + (as_number(ties.len()) + 1.0) / 2.0;
        ranks += rank * as_number(ours);
        below += ties.len();
    }
    let (n, m) = (as_number(one.len()), as_number(other.len()));
    let u = ranks - n * (n + 1.0) / 2.0;
    (u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    *sorted.get(sorted.len() / 2).unwrap()
}

fn as_number(count: usize) -> f64 {
    u32::try_from(count).unwrap().into()
}

const TRIES: usize = 200;
const WARM_UP: usize = 5;
/// Six comparisons: chance reaches this in one of 2,000 runs.
const TOLD_APART: f64 = 4.0;
