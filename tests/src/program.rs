//! A real program as a child process, which ends with the story at the latest.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{PATIENCE, Stage};

/// A running program.
pub struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Program {
    /// Starts a program with a clean environment; `configure` adds arguments and variables. What it
    /// logs goes to a file of the stage.
    pub fn start(
        stage: &Stage,
        name: &str,
        program: PathBuf,
        configure: impl FnOnce(&mut Command),
    ) -> Self {
        let log = stage.path(&format!("{name}.log"));
        let log_file = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        let mut command = clean_command(stage, program);
        configure(&mut command);
        let command = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file);
        let mut child = command
            .spawn()
            .expect("setpriv is part of every distribution");
        let lines = follow(child.stdout.take().unwrap());
        Self {
            name: name.to_owned(),
            child,
            lines,
            log,
        }
    }

    /// Writes `bytes` to its standard input and closes it.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut input = self.child.stdin.take().expect("a program is fed once");
        // A program that refuses what it reads does not read to the end.
        let _ = input.write_all(bytes);
    }

    /// The next line that it prints.
    pub fn next_line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{} printed nothing", self.name),
            Err(RecvTimeoutError::Disconnected) => {
                panic!(
                    "{} ended: {:?}\n{}",
                    self.name,
                    self.child.wait(),
                    self.log()
                )
            }
        }
    }

    /// Every line that it prints until it closes its output.
    pub fn lines_to_the_end(&mut self) -> Vec<String> {
        let begin = Instant::now();
        let mut lines = Vec::new();
        loop {
            match self
                .lines
                .recv_timeout(PATIENCE.saturating_sub(begin.elapsed()))
            {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return lines,
                Err(RecvTimeoutError::Timeout) => panic!("{} goes on printing", self.name),
            }
        }
    }

    /// Its process number.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it where it stands: its connections stay open, and it answers nothing.
    pub fn pause(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Asks it to end, and waits until it did.
    pub fn terminate(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.wait()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A child that has ended already cannot be killed again.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = writeln!(
                std::io::stderr(),
                "--- {} logged:\n{}",
                self.name,
                self.log()
            );
        }
    }
}

/// The path of a program of this workspace, built before the tests.
pub fn binary(name: &str) -> PathBuf {
    built(Path::new(name))
}

/// A copy of one of them that another process makes: a program that this one has open for writing,
/// even in a child that another test has just forked, cannot be started ("text file busy").
pub fn copy_of(name: &str, to: &Path) {
    let copied = Command::new("cp").arg(binary(name)).arg(to).status();
    assert!(copied.unwrap().success());
}

/// The path of an example of this workspace, built before the tests.
pub fn example(name: &str) -> PathBuf {
    built(&Path::new("examples").join(name))
}

/// A command that sees none of our environment, and is killed when this process dies.
pub(crate) fn clean_command(stage: &Stage, program: PathBuf) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .env_clear();
    command
        .env("PATH", "/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .env("RUST_BACKTRACE", "1");
    command
        .env("HOME", stage.path("home"))
        .env("TMPDIR", stage.temporary());
    command
}

fn built(name: &Path) -> PathBuf {
    let this_test = std::env::current_exe().unwrap();
    let profile = this_test
        .ancestors()
        .nth(2)
        .expect("tests are built in PROFILE/deps");
    let path = profile.join(name);
    assert!(
        path.exists(),
        "{} is not built; run {}",
        path.display(),
        what_builds(profile)
    );
    path
}

/// A benchmark looks for programs of a release build, where `./check` puts none.
fn what_builds(profile: &Path) -> &'static str {
    if profile.ends_with("release") {
        "cargo build --release --workspace --bins --examples"
    } else {
        "./check, or: cargo build --workspace --bins --examples"
    }
}

fn follow(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_misses_a_program_is_told_to_build_it_where_it_is_looked_for() {
        let advice = |profile: &str| what_builds(Path::new(profile));
        assert!(advice("target/release").starts_with("cargo build --release "));
        assert!(!advice("target/debug").contains("--release"));
    }
}
