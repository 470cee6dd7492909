//! What a command did: its exit code, and what it wrote.

use std::io::Write;
use std::process::{Command, Stdio};

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

impl Answer {
    /// Of one command with this standard input.
    pub(crate) fn of(command: &mut Command, input: &[u8]) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that refuses its arguments does not read its input.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            output: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fails unless the command succeeded.
    pub fn success(self) -> Self {
        assert!(
            self.code == 0,
            "exit code {}: {}{}",
            self.code,
            self.output,
            self.errors
        );
        self
    }
}
