//! A Redis among others: its settings, its start, and what it answers.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Stage;
use crate::program::Program;

/// The program.
pub(crate) const REDIS: &str = "/usr/bin/redis-server";

/// What a Redis at a port answers, asked with these options: the words of a list, or the lines of
/// a text.
pub(crate) fn ask((port, options): (u16, &[String]), command: &str) -> Option<Vec<String>> {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(options)
        .args(command.split(' '))
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| text.lines().map(str::to_owned).collect())
}

/// Starts one with its settings, and waits until it listens.
pub(crate) fn launch(stage: &Stage, name: &str, settings: &Path) -> Program {
    let mut program = Program::start(stage, name, REDIS.into(), |command| {
        command.arg(settings);
    });
    while !program.next_line().contains("eady to accept connections") {}
    program
}

/// Writes its settings; whatever it stores is the stage's.
pub(crate) fn write_settings(stage: &Stage, name: &str, (port, more): (u16, &str)) -> PathBuf {
    let folder = stage.temporary();
    let settings = format!(
        "bind 127.0.0.1\nport {port}\ndir {}\n{more}",
        folder.display()
    );
    let path = stage.path(&format!("{name}.conf"));
    std::fs::write(&path, settings).unwrap();
    path
}
