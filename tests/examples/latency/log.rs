//! What the server's log tells, on the clock of everything else here.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::time::{Duration, Instant, SystemTime};

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
    pub(crate) fn time_of(&mut self, event: &str, fields: &str) -> Instant {
        let begin = Instant::now();
        loop {
            let line = self.next_line(begin);
            if line.contains(event) && line.trim_end().ends_with(fields) {
                return to_instant(line.split(' ').next().unwrap());
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
fn to_instant(told: &str) -> Instant {
    let told = SystemTime::from(OffsetDateTime::parse(told, &Rfc3339).unwrap());
    #[expect(
        clippy::disallowed_methods,
        reason = "a log is told by the time of day"
    )]
    let ago = SystemTime::now().duration_since(told).unwrap();
    Instant::now().checked_sub(ago).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(10);
