//! The real server, on a free port of this machine.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use hyper::Method;
use keyferry_cli::rest::{Address, Answer, Ask, Rest};
use keyferry_sdk::tls::ServerTrust;
use secrecy::SecretString;
use serde_json::Value;

use crate::program::{Program, binary};
use crate::{Stage, free_port};

/// A running `keyferry-server serve`.
pub struct Server {
    program: Program,
    url: String,
    fingerprint: String,
    /// What it was told, to start it again.
    told: Told,
}

/// What a server is started with.
#[derive(Clone)]
pub(crate) struct Told {
    /// Names its log.
    pub(crate) name: String,
    pub(crate) listen: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) settings: Vec<(String, String)>,
}

impl Server {
    /// Starts it with its data in the stage.
    pub fn start(stage: &Stage) -> Self {
        Self::start_with(stage, &[])
    }

    /// Starts it with more settings.
    pub fn start_with(stage: &Stage, settings: &[(&str, &str)]) -> Self {
        Self::start_at(stage, &free_address(), settings)
    }

    /// Starts it at an address that is known beforehand.
    pub fn start_at(stage: &Stage, listen: &str, settings: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let told = Told {
            name: "server".to_owned(),
            listen: listen.to_owned(),
            data_dir: stage.data_dir(),
            settings: settings.iter().map(owned).collect(),
        };
        Self::launch(stage, &told).ready(told)
    }

    /// Starts it with its data in another folder.
    pub fn start_elsewhere(stage: &Stage, data_dir: &Path, settings: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let told = Told {
            name: "server-elsewhere".to_owned(),
            listen: free_address(),
            data_dir: data_dir.to_owned(),
            settings: settings.iter().map(owned).collect(),
        };
        Self::launch(stage, &told).ready(told)
    }

    /// Kills it as a crash would, and starts it again at the same address.
    pub fn crash_and_restart(&mut self, stage: &Stage) {
        self.kill();
        self.start_again(stage);
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again at the same address.
    pub fn start_again(&mut self, stage: &Stage) {
        let mut told = self.told.clone();
        told.listen = self.listen();
        *self = Self::launch(stage, &told).ready(told);
    }

    /// Stops it where it stands: its connections stay open, and it answers nothing.
    pub fn pause(&self) {
        self.program.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.program.resume();
    }

    /// Asks it to end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.program.terminate()
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What people compare at their first contact.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Its process number.
    pub fn pid(&self) -> i32 {
        self.program.pid()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// A client of its REST surface.
    pub fn rest(&self) -> Rest {
        // With plain HTTP there is no certificate, and nothing is pinned.
        let pin = |text: &str| ServerTrust::Pinned(text.parse().unwrap());
        let trust = match self.fingerprint.as_str() {
            "-" => ServerTrust::System,
            fingerprint => pin(fingerprint),
        };
        Rest::new(self.address(), trust)
    }

    /// Sends one request with an optional token and body.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&SecretString>,
        body: Option<Value>,
    ) -> Answer {
        let mut ask = Ask::new(method, path);
        if let Some(bearer) = bearer {
            ask = ask.signed_in(bearer);
        }
        if let Some(body) = body {
            ask = ask.json(body.to_string().into());
        }
        self.rest().exchange(ask).await.unwrap()
    }

    /// A bare connection, for bytes that no client would send.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.listen()).unwrap()
    }

    pub(crate) fn listen(&self) -> String {
        let address = self.address();
        format!("{}:{}", address.host(), address.port())
    }

    fn address(&self) -> Address {
        self.url.parse().unwrap()
    }

    /// Starts another command of the same program on the same data; `configure` says which.
    pub fn run_beside(
        &self,
        stage: &Stage,
        name: &str,
        configure: impl FnOnce(&mut Command),
    ) -> Program {
        Program::start(stage, name, binary("keyferry-server"), |command| {
            configure(command);
            command.arg("--data-dir").arg(&self.told.data_dir);
            if let Some(database) = stage.database() {
                command.env("DATABASE_URL", database.server_url());
            }
            let settings = self.told.settings.iter();
            command.envs(settings.map(|(name, value)| (name, value)));
        })
    }

    /// Starts it by `unshare`, to which `wrap` says how.
    pub(crate) fn start_wrapped(stage: &Stage, wrap: impl FnOnce(&mut Command)) -> Self {
        let told = Told {
            name: "server".to_owned(),
            listen: free_address(),
            data_dir: stage.data_dir(),
            settings: Vec::new(),
        };
        Self::launch_by(stage, &told, ("unshare".into(), wrap)).ready(told)
    }

    /// Starts it, and does not wait until it listens.
    pub(crate) fn launch(stage: &Stage, told: &Told) -> Launched {
        Self::launch_by(
            stage,
            told,
            (binary("keyferry-server"), |_: &mut Command| {}),
        )
    }

    fn launch_by(
        stage: &Stage,
        told: &Told,
        (program, wrap): (PathBuf, impl FnOnce(&mut Command)),
    ) -> Launched {
        Launched(Program::start(stage, &told.name, program, |command| {
            wrap(command);
            command
                .args(["serve", "--listen", &told.listen, "--data-dir"])
                .arg(&told.data_dir);
            // The lowest cost that the server accepts, and no limits that a story does not set:
            // stories are about other things.
            command
                .env("AUTH_PASSWORD_HASH_ROUNDS", "10")
                .env("AUTH_REGISTRATIONS_PER_HOUR", "0")
                .env("AUTH_REFRESHES_PER_HOUR", "0")
                .env("AUTH_ENABLE_RATE_LIMITING", "false")
                .env("KEYFERRY_LOG", "debug,sqlx=info");
            if let Some(database) = stage.database() {
                command.env("DATABASE_URL", database.server_url());
            }
            let settings = told.settings.iter();
            command.envs(settings.map(|(name, value)| (name, value)));
        }))
    }
}

/// Its own for as long as the story may start it again.
fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// A server that may not listen yet.
pub(crate) struct Launched(Program);

impl Launched {
    /// Waits until it listens.
    pub(crate) fn ready(mut self, told: Told) -> Server {
        let ready = self.0.next_line();
        let words: Vec<&str> = ready.split(' ').collect();
        let [_ready, url, fingerprint] = words[..] else {
            panic!("`{ready}` is no ready line")
        };
        Server {
            url: url.to_owned(),
            fingerprint: fingerprint.to_owned(),
            program: self.0,
            told,
        }
    }
}
