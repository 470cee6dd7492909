//! A real PgBouncer between servers and their database.

use std::fs::Permissions;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use rustix::process::geteuid;

use crate::program::Program;
use crate::{Stage, free_port, postgres_user, until};

/// A running PgBouncer.
pub struct PgBouncer {
    url: String,
    _program: Program,
}

impl PgBouncer {
    /// Starts it before the stage's database, which it enters as the role of the servers, with these
    /// lines among its settings. Fails where it is not installed.
    pub async fn start(stage: &Stage, settings: &str) -> Self {
        let port = free_port();
        let database = stage.database().expect("the stage has a PostgreSQL");
        let (place, parameters) = database.server_url().split_once('?').unwrap();
        let name = place.rsplit('/').next().unwrap();
        let place = parameters.replace('&', " ");
        let config = stage.path("pgbouncer.ini");
        let text = format!(
            "[databases]\n{name} = {place}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\n{settings}\n"
        );
        std::fs::write(&config, text).unwrap();
        let program = launch(stage, &config);
        until("PgBouncer listens", async || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .await;
        Self {
            url: format!("postgres://anybody@127.0.0.1:{port}/{name}?sslmode=disable"),
            _program: program,
        }
    }

    /// For the servers' `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// It refuses to run as root, and is lent to the user `postgres`.
fn launch(stage: &Stage, config: &PathBuf) -> Program {
    let program = PathBuf::from("/usr/sbin/pgbouncer");
    assert!(
        program.exists(),
        "PgBouncer is not installed: apt-get install pgbouncer"
    );
    if !geteuid().is_root() {
        return Program::start(stage, "pgbouncer", program, |command| {
            command.arg(config);
        });
    }
    let (user, group) = postgres_user();
    for place in [stage.folder(), config] {
        chown(place, Some(user), Some(group)).unwrap();
    }
    std::fs::set_permissions(config, Permissions::from_mode(0o600)).unwrap();
    Program::start(stage, "pgbouncer", "setpriv".into(), |command| {
        command
            .arg(format!("--reuid={user}"))
            .arg(format!("--regid={group}"))
            .arg("--clear-groups")
            .arg(program)
            .arg(config);
    })
}
