//! Numbers, as they are printed.

use std::fmt;
use std::time::Duration;

use crate::{Server, curl};

/// How long something took, many times.
pub struct Spread(Vec<Duration>);

impl Spread {
    /// Of these.
    pub fn of(took: impl IntoIterator<Item = Duration>) -> Self {
        let mut took: Vec<_> = took.into_iter().collect();
        took.sort_unstable();
        Self(took)
    }

    fn at(&self, part: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place among some thousands"
        )]
        let place = (last as f64 * part).round() as usize;
        self.0.get(place).copied().unwrap_or_default()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (middle, most, all) = (self.at(0.5), self.at(0.99), self.at(1.0));
        write!(f, "p50 {middle:.1?}, p99 {most:.1?}, longest {all:.1?}")
    }
}

/// The resident memory of a process, in bytes; none of one that is gone.
#[derive(Clone, Copy, Default)]
pub struct Resident {
    /// At this moment.
    pub now: u64,
    /// The most that it ever was.
    pub most: u64,
}

/// The resident memory of a process.
pub fn resident(pid: i32) -> Resident {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kilobytes = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
        kilobytes.map_or(0, |kilobytes: u64| kilobytes * 1024)
    };
    Resident {
        now: bytes("VmRSS:"),
        most: bytes("VmHWM:"),
    }
}

impl fmt::Display for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (now, most) = (self.now / 1_000_000, self.most / 1_000_000);
        write!(f, "{now} MB (at most {most} MB)")
    }
}

/// How long a process has had a processor since it began.
pub fn processor_time(pid: i32) -> Duration {
    let ticks = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = ticks.rsplit(") ").next().unwrap_or_default();
    let fields = after_name.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = fields.flat_map(str::parse::<u64>).sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}

/// What a server's metrics tell of its database.
pub struct Statements {
    all: u64,
    /// Those that took no longer than 100 ms, with their wait for a connection.
    quick: u64,
}

impl Statements {
    /// A server with this setting tells them.
    pub const SETTING: (&str, &str) = ("KEYFERRY_METRICS_TOKEN", "whoever measures");

    /// Since the server began.
    pub fn of(server: &Server) -> Self {
        let (_, token) = Self::SETTING;
        let bearer = format!("Authorization: Bearer {token}");
        let metrics = curl(server, "/metrics", &["--insecure", "-H", &bearer]).text;
        let number = |rest: &str| {
            let name = format!("keyferry_database_statement_duration_seconds_{rest} ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
            line.unwrap().parse().unwrap()
        };
        Self {
            all: number("count"),
            quick: number("bucket{le=\"0.1\"}"),
        }
    }
}

impl fmt::Display for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, slow) = (self.all, self.all - self.quick);
        write!(f, "{all} statements, {slow} of them over 100 ms")
    }
}
