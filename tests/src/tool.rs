//! A tool in the machine: the example of the SDK, which maps a key's page and tells what it sees.

use serde_json::Value;

use crate::program::{Program, example};
use crate::{Agent, Stage};

/// A running example tool.
pub struct Tool(Program);

impl Tool {
    /// Opens a key once the agent holds it.
    pub async fn open(stage: &Stage, agent: &Agent, key: &str) -> Self {
        Self::open_with(stage, agent, key, &[]).await
    }

    /// The same, but it looks at its page itself, and hears nothing from the agent.
    pub async fn open_watching_the_page(stage: &Stage, agent: &Agent, key: &str) -> Self {
        Self::open_with(stage, agent, key, &["--poll"]).await
    }

    /// The same, and it keeps its page when the key is gone.
    pub async fn open_to_stay(stage: &Stage, agent: &Agent, key: &str) -> Self {
        Self::open_with(stage, agent, key, &["--stay"]).await
    }

    async fn open_with(stage: &Stage, agent: &Agent, key: &str, options: &[&str]) -> Self {
        agent.until_it_has(key).await;
        let program = Program::start(stage, "tool", example("tool"), |command| {
            let command = command.arg("--socket").arg(agent.socket());
            command.args(["--key", key]).args(options);
        });
        Self(program)
    }

    /// The next thing that it saw.
    pub fn next_event(&mut self) -> Value {
        let line = self.0.next_line();
        serde_json::from_str(&line).unwrap()
    }

    /// Reads on until an event of this kind.
    pub fn until_event(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next_event();
            if event["event"] == kind {
                return event;
            }
        }
    }

    /// Its process number.
    pub fn pid(&self) -> i32 {
        self.0.pid()
    }

    /// What it wrote to its standard error.
    pub fn log(&self) -> String {
        self.0.log()
    }

    /// Waits until it ends, and tells whether it was content.
    pub fn wait(&mut self) -> bool {
        self.0.wait().success()
    }
}
