//! A private Redis on a free port, which a story may kill and pause.

use std::path::PathBuf;

use crate::program::Program;
use crate::{Stage, free_port};

/// Who may come in, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Anyone, in the clear.
    Open,
    /// One user with a password, who reaches nothing but what is Keyferry's.
    Acl,
    /// Anyone, with TLS under an authority of its own.
    Tls,
}

/// A running Redis. What it holds is in its memory only: a restart forgets everything.
pub struct Redis {
    program: Program,
    url: String,
    ca_file: Option<PathBuf>,
}

impl Redis {
    /// Starts it for anyone. Fails where `redis-server` is not installed.
    pub fn start(stage: &Stage) -> Self {
        Self::start_guarded(stage, Guard::Open)
    }

    /// Starts it with a guard.
    pub fn start_guarded(stage: &Stage, guard: Guard) -> Self {
        let port = free_port();
        let mut settings = format!("bind 127.0.0.1\nsave \"\"\ndir {}\n", folder(stage));
        let (url, ca_file) = match guard {
            Guard::Open => (format!("redis://127.0.0.1:{port}"), None),
            Guard::Acl => {
                settings.push_str("user default off\n");
                settings.push_str(USER);
                (format!("redis://keyferry:door-key@127.0.0.1:{port}"), None)
            }
            Guard::Tls => {
                let certificate = certificate(stage);
                (format!("rediss://localhost:{port}"), Some(certificate))
            }
        };
        match &ca_file {
            None => settings.push_str(&format!("port {port}\n")),
            Some(certificate) => settings.push_str(&format!(
                "port 0\ntls-port {port}\ntls-cert-file {0}\ntls-key-file {1}\n\
                 tls-ca-cert-file {0}\ntls-auth-clients no\n",
                certificate.display(),
                stage.path("redis.key").display(),
            )),
        }
        std::fs::write(stage.path("redis.conf"), settings).unwrap();
        Self {
            program: launch(stage),
            url,
            ca_file,
        }
    }

    /// For `REDIS_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a server is told about it.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        let ca_file = self.ca_file.as_ref().and_then(|path| path.to_str());
        let mut settings = vec![("REDIS_URL", self.url())];
        settings.extend(ca_file.map(|path| ("REDIS_CA_FILE", path)));
        settings
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again, empty, at the same address.
    pub fn start_again(&mut self, stage: &Stage) {
        self.program = launch(stage);
    }

    /// Stops it where it stands: its connections stay open, and it answers nothing.
    pub fn pause(&self) {
        self.program.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.program.resume();
    }
}

fn launch(stage: &Stage) -> Program {
    let program = PathBuf::from("/usr/bin/redis-server");
    assert!(
        program.exists(),
        "Redis is not installed: apt-get install redis-server"
    );
    let mut program = Program::start(stage, "redis", program, |command| {
        command.arg(stage.path("redis.conf"));
    });
    while !program.next_line().contains("eady to accept connections") {}
    program
}

fn folder(stage: &Stage) -> String {
    stage.temporary().display().to_string()
}

/// A certificate for this machine that is its own authority.
pub(crate) fn certificate(stage: &Stage) -> PathBuf {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let path = stage.path("redis.pem");
    std::fs::write(&path, made.cert.pem()).unwrap();
    std::fs::write(stage.path("redis.key"), made.signing_key.serialize_pem()).unwrap();
    path
}

/// What the documentation says that Keyferry needs.
pub(crate) const USER: &str = "user keyferry on >door-key ~keyferry:* &keyferry:* \
    +@connection +@pubsub +@scripting +@read +@write +time +cluster|slots\n";
