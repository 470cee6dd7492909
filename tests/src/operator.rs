//! The operator on the server's host, with the real `keyferry-server` command.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::program::{Program, binary, clean_command};
use crate::{Answer, Stage, Terminal};

/// Somebody with the settings that the server has.
pub struct Operator<'a> {
    stage: &'a Stage,
    data_dir: PathBuf,
    settings: Vec<(String, String)>,
}

impl<'a> Operator<'a> {
    /// The operator of the stage's server.
    pub fn of(stage: &'a Stage) -> Self {
        let url = stage
            .database()
            .map(|database| database.server_url().to_owned());
        Self {
            stage,
            data_dir: stage.data_dir(),
            settings: url
                .into_iter()
                .map(|url| ("DATABASE_URL".to_owned(), url))
                .collect(),
        }
    }

    /// The same with another setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same as the owner of the database's schema.
    #[must_use]
    pub fn as_owner(self) -> Self {
        match self.stage.database() {
            Some(database) => self.with("DATABASE_URL", database.url()),
            None => self,
        }
    }

    /// The same on another data folder.
    #[must_use]
    pub fn at(mut self, data_dir: PathBuf) -> Self {
        self.data_dir = data_dir;
        self
    }

    /// Runs one command with this standard input.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Answer {
        let mut command = clean_command(self.stage, binary("keyferry-server"));
        self.configure(&mut command, arguments);
        Answer::of(&mut command, input)
    }

    /// Runs one command that must succeed, and reads its JSON.
    pub fn ask(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        serde_json::from_str(&self.run(&arguments, b"").success().output).unwrap()
    }

    /// Starts one command and does not wait for it.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Program {
        Program::start(self.stage, name, binary("keyferry-server"), |command| {
            self.configure(command, arguments);
        })
    }

    /// Starts one at a terminal.
    pub fn at_a_terminal(&self, arguments: &[&str]) -> Terminal {
        let mut command = clean_command(self.stage, binary("keyferry-server"));
        self.configure(&mut command, arguments);
        command.env("TERM", "xterm");
        Terminal::start(&command)
    }

    fn configure(&self, command: &mut Command, arguments: &[&str]) {
        command
            .args(arguments)
            .current_dir(self.stage.folder())
            .env("KEYFERRY_DATA_DIR", &self.data_dir)
            .env("AUTH_PASSWORD_HASH_ROUNDS", "10")
            .env("KEYFERRY_LOG", "warn");
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
    }
}
