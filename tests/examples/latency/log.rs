//! What the server's log tells, on the clock of everything else here.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The log, from some line on.
pub(crate) struct Log {
    lines: BufReader<File>,
    line: String,
}

impl Log {
    pub(crate) fn at_its_end(path: &str) -> Self {
        let mut file = File::open(path).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        Self {
            lines: BufReader::new(file),
            line: String::new(),
        }
    }

    /// When it told of `event` with these fields.
    pub(crate) fn time_of(&mut self, event: &str, fields: &str) -> Duration {
        let begin = Instant::now();
        loop {
            let line = self.next_line(begin);
            if line.contains(event) && line.trim_end().ends_with(fields) {
                return to_monotonic(line.split(' ').next().unwrap());
            }
        }
    }

    /// A line that is still being written is waited for.
    fn next_line(&mut self, begin: Instant) -> String {
        loop {
            self.lines.read_line(&mut self.line).unwrap();
            if self.line.ends_with('\n') {
                return std::mem::take(&mut self.line);
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "the server's log tells of no push: start it with KEYFERRY_LOG=debug"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The log tells the time of day; both clocks run at the same pace.
fn to_monotonic(told: &str) -> Duration {
    let told = OffsetDateTime::parse(told, &Rfc3339).unwrap();
    let told = Duration::from_nanos(told.unix_timestamp_nanos().try_into().unwrap());
    let ago = read(ClockId::Realtime) - told;
    monotonic() - ago
}

/// The clock of everything here.
pub(crate) fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).try_into().unwrap()
}

const PATIENCE: Duration = Duration::from_secs(10);
