//! The real agent, enrolled by a ticket on its standard input.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use keyferry_sdk::Client;
use keyferry_sdk::status::{Health, Key, Status};

use crate::program::{Program, binary, example};
use crate::{Person, Stage, Wire, until};

/// A running `keyferry-agent run`.
pub struct Agent {
    program: Program,
    socket: PathBuf,
}

impl Agent {
    /// Adds a machine for `owner`, enrols its agent, and waits until it is connected.
    pub async fn enrol(stage: &Stage, owner: &Person<'_>, vm: &str) -> Self {
        let agent = Self::start(stage, vm, owner.ticket_for_new_vm(vm).as_bytes());
        agent.until_healthy().await;
        agent
    }

    /// Starts it with these bytes as its ticket, and waits until its socket is served.
    pub fn start(stage: &Stage, vm: &str, ticket: &[u8]) -> Self {
        let socket = stage.path(&format!("{vm}.sock"));
        let mut program = Self::launch(stage, vm, &socket, ticket);
        let ready = program.next_line();
        assert!(
            ready.starts_with("keyferry-agent ready"),
            "`{ready}` is no ready line"
        );
        Self { program, socket }
    }

    /// The same with a settings file.
    pub async fn enrol_with(stage: &Stage, owner: &Person<'_>, vm: &str, settings: &str) -> Self {
        let file = stage.path(&format!("{vm}.toml"));
        std::fs::write(&file, settings).expect("the stage can be written to");
        let ticket = owner.ticket_for_new_vm(vm);
        let agent = Self::start_with(stage, (vm, &ticket), |command| {
            command.arg("--config").arg(&file);
        });
        agent.until_healthy().await;
        agent
    }

    /// Starts it with this ticket and whatever `configure` adds.
    pub fn start_with(
        stage: &Stage,
        (vm, ticket): (&str, &str),
        configure: impl FnOnce(&mut Command),
    ) -> Self {
        let mut agent = Self::launch_configured(stage, vm, |command| {
            command.arg("--ticket-stdin");
            configure(command);
        });
        agent.program.feed(ticket.as_bytes());
        agent.until_served();
        agent
    }

    /// Starts it with whatever `configure` adds, such as another way for its ticket.
    pub fn start_configured(stage: &Stage, vm: &str, configure: impl FnOnce(&mut Command)) -> Self {
        let mut agent = Self::launch_configured(stage, vm, configure);
        agent.until_served();
        agent
    }

    fn launch_configured(stage: &Stage, vm: &str, configure: impl FnOnce(&mut Command)) -> Self {
        let socket = stage.path(&format!("{vm}.sock"));
        let program = Program::start(stage, vm, binary("keyferry-agent"), |command| {
            command.args(["run", "--socket"]).arg(&socket);
            command.env("RUST_LOG", "debug");
            configure(command);
        });
        Self { program, socket }
    }

    /// The same at the other end of a wire.
    pub async fn enrol_behind(stage: &Stage, owner: &Person<'_>, vm: &str, wire: &Wire) -> Self {
        let socket = stage.path(&format!("{vm}.sock"));
        let mut program = Program::start(stage, vm, "/usr/bin/nsenter".into(), |command| {
            wire.wrap(command, binary("keyferry-agent"));
            command
                .args(["run", "--ticket-stdin", "--socket"])
                .arg(&socket);
        });
        program.feed(owner.ticket_for_new_vm(vm).as_bytes());
        let mut agent = Self { program, socket };
        agent.until_served();
        agent.until_healthy().await;
        agent
    }

    /// Starts it on a machine that gives no more than `level` (see the example `confined`), and
    /// does not care whether it stays.
    pub fn launch_confined(
        stage: &Stage,
        vm: &str,
        (level, options): (&str, &[&str]),
        ticket: &[u8],
    ) -> Self {
        let socket = stage.path(&format!("{vm}.sock"));
        let mut program = Program::start(stage, vm, example("confined"), |command| {
            let command = command.arg(level).arg(binary("keyferry-agent"));
            let command = command.args(["run", "--ticket-stdin", "--socket"]);
            command.arg(&socket).args(options);
        });
        program.feed(ticket);
        Self { program, socket }
    }

    /// Waits until its socket is served.
    pub fn until_served(&mut self) {
        let ready = self.program.next_line();
        assert!(
            ready.starts_with("keyferry-agent ready"),
            "`{ready}` is no ready line"
        );
    }

    /// Starts it, and does not care whether it stays.
    pub fn launch(stage: &Stage, vm: &str, socket: &Path, ticket: &[u8]) -> Program {
        let mut program = Program::start(stage, vm, binary("keyferry-agent"), |command| {
            command
                .args(["run", "--ticket-stdin", "--socket"])
                .arg(socket);
            command.env("KEYFERRY_LOG", "debug");
        });
        program.feed(ticket);
        program
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its process number.
    pub fn pid(&self) -> i32 {
        self.program.pid()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Stops it where it stands: its connections stay open, and it answers nothing.
    pub fn pause(&self) {
        self.program.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.program.resume();
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.program.wait()
    }

    /// Asks it to end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.program.terminate()
    }

    /// How it says it is.
    pub async fn status(&self) -> Status {
        let client = Client::connect_to(&self.socket)
            .await
            .expect("the agent serves its socket");
        client.status().await.expect("the agent tells its status")
    }

    /// One of its keys.
    pub async fn key(&self, name: &str) -> Option<Key> {
        self.status()
            .await
            .keys
            .into_iter()
            .find(|key| key.name == name)
    }

    /// Waits until it is connected.
    pub async fn until_healthy(&self) {
        until("the agent is healthy", async || {
            (self.status().await.health == Health::Healthy).then_some(())
        })
        .await;
    }

    /// Waits until it is not connected.
    pub async fn until_cut_off(&self) {
        until("the agent has lost its server", async || {
            (self.status().await.health != Health::Healthy).then_some(())
        })
        .await;
    }

    /// Waits until it has a session with this server.
    pub async fn until_served_by(&self, server: &crate::Server) {
        until("the server serves the agent", async || {
            let status = self.status().await;
            let there = status.connection.server.as_deref() == Some(server.url());
            (there && status.health == Health::Healthy).then_some(())
        })
        .await;
    }

    /// Waits until it holds any version of a key.
    pub async fn until_it_has(&self, name: &str) {
        until(&format!("the agent holds {name}"), async || {
            self.key(name).await
        })
        .await;
    }

    /// Waits until it holds this version of a key.
    pub async fn until_holding(&self, name: &str, version: u32) {
        until(
            &format!("the agent holds version {version} of {name}"),
            async || {
                let key = self.key(name).await?;
                (key.version == version && key.state == "live").then_some(())
            },
        )
        .await;
    }
}
