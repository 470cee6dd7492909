//! One server, one agent process, and a folder of their own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyferry_sdk::Client;
use keyferry_sdk::status::{Health, Status};
use rustix::process::{Pid, Signal, kill_process};

use super::server::Server;

pub(crate) struct World {
    pub(crate) server: Server,
    folder: tempfile::TempDir,
}

pub(crate) struct AgentProcess {
    pub(crate) socket: PathBuf,
    child: Child,
    log: PathBuf,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Server::start().await)
    }

    pub(crate) async fn with_tls() -> Self {
        Self::with(Server::start_with_tls().await)
    }

    fn with(server: Server) -> Self {
        Self {
            server,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// An agent whose first session is open.
    pub(crate) async fn agent(&mut self) -> AgentProcess {
        self.agent_with("").await
    }

    pub(crate) async fn agent_with(&mut self, settings: &str) -> AgentProcess {
        let agent = self.started(&[], settings);
        self.first_session(agent).await
    }

    pub(crate) async fn agent_without_session(&mut self) -> AgentProcess {
        self.started(&[], "")
    }

    pub(crate) async fn agent_of_an_ordinary_user(&mut self) -> AgentProcess {
        std::os::unix::fs::chown(self.folder.path(), Some(65534), None).unwrap();
        let wrapper = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        let agent = self.started(&wrapper, "");
        self.first_session(agent).await
    }

    async fn first_session(&self, agent: AgentProcess) -> AgentProcess {
        eventually(async || agent.status().await.health == Health::Healthy).await;
        eventually(async || self.server.sessions() >= 1).await;
        agent
    }

    /// Gives the exit code and the log of an agent that may lock no memory.
    pub(crate) async fn agent_without_locked_memory(&self) -> (Option<i32>, String) {
        let limit = ["prlimit", "--memlock=0:0"];
        let root = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
        let root = if rustix::process::getuid().is_root() {
            &root[..]
        } else {
            &[]
        };
        let mut agent = self.spawned(&[root, &limit].concat(), "", self.server.ticket());
        let code = agent.exit_code().await;
        (code, agent.log())
    }

    /// Gives the exit code and the log of an agent that is given this ticket.
    pub(crate) async fn agent_that_fails(&self, ticket: &str) -> (Option<i32>, String) {
        let mut agent = self.spawned(&[], "", ticket);
        let code = agent.exit_code().await;
        (code, agent.log())
    }

    fn started(&self, wrapper: &[&str], settings: &str) -> AgentProcess {
        let mut agent = self.spawned(wrapper, settings, self.server.ticket());
        let mut line = [0; 22];
        let stdout = agent.child.stdout.as_mut().unwrap();
        let said = stdout.read_exact(&mut line);
        assert!(said.is_ok(), "the agent is ready: {}", agent.log());
        assert_eq!(&line, b"keyferry-agent ready a");
        agent
    }

    fn spawned(&self, wrapper: &[&str], settings: &str, ticket: &str) -> AgentProcess {
        let path = |name: &str| self.folder.path().join(name);
        let settings = format!("{settings}\n[reconnect]\nlongest_ms = 500\n");
        std::fs::write(path("agent.toml"), settings).unwrap();
        let program = binary(self.folder.path());
        let words = wrapper.iter().map(Path::new).chain([program.as_path()]);
        let words: Vec<_> = words.collect();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .args(["run", "--ticket-stdin", "--socket"])
            .arg(self.socket())
            .arg("--config")
            .arg(path("agent.toml"))
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(path("agent.log")).unwrap())
            .spawn()
            .unwrap();
        let _it_may_have_ended = child.stdin.take().unwrap().write_all(ticket.as_bytes());
        AgentProcess {
            socket: self.socket(),
            child,
            log: path("agent.log"),
        }
    }
}

/// A copy that every user may run, wherever the build folder is.
///
/// Another process makes it: a program that this one has open for writing, even for a moment and
/// in a child that another test has just forked, cannot be started ("text file busy").
fn binary(folder: &Path) -> PathBuf {
    let copy = folder.join("keyferry-agent");
    if !copy.exists() {
        let original = env!("CARGO_BIN_EXE_keyferry-agent");
        let copied = Command::new("cp").arg(original).arg(&copy).status();
        assert!(copied.is_ok_and(|status| status.success()));
    }
    copy
}

impl AgentProcess {
    pub(crate) async fn tool(&self) -> Client {
        Client::connect_to(&self.socket)
            .await
            .unwrap_or_else(|error| {
                panic!("the agent answers: {error}; {}", self.log());
            })
    }

    pub(crate) async fn status(&self) -> Status {
        self.tool().await.status().await.unwrap()
    }

    /// The exit code of `keyferry-agent status`.
    pub(crate) fn status_command(&self) -> Option<i32> {
        Command::new(env!("CARGO_BIN_EXE_keyferry-agent"))
            .args(["status", "--socket"])
            .arg(&self.socket)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .code()
    }

    /// The same of another user, who is in no group, and what it complained about.
    pub(crate) fn status_command_of(&self, uid: u32) -> (Option<i32>, String) {
        let folder = self.socket.parent().unwrap();
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder, everybody).unwrap();
        let answer = Command::new("setpriv")
            .args([format!("--reuid={uid}"), format!("--regid={uid}")])
            .arg("--clear-groups")
            .arg(binary(folder))
            .args(["status", "--socket"])
            .arg(&self.socket)
            .output()
            .unwrap();
        (
            answer.status.code(),
            String::from_utf8(answer.stderr).unwrap(),
        )
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the agent ends: {}", self.log());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _it_may_have_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Waits until this holds.
pub(crate) async fn eventually(holds: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "it does not come about");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How long anything may take before a story fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
