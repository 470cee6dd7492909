//! A machine enrols over the wire that its host has laid, at every boot, and keeps nothing for it.
//!
//! The hypervisor's part, joining a serial port in the machine to the server's Unix socket, is
//! played by a pair of threads and a pseudo-terminal.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::{JoinHandle, spawn};

use keyferry_tests::{
    Agent, Engine, Person, Program, Secret, Server, Stage, on_both_engines, until,
};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

on_both_engines!(
    a_machine_enrols_at_every_boot_with_nothing_stored_in_it,
    a_machine_that_was_cut_off_comes_back_by_itself_once_it_is_active_again,
);

/// `keyferry-server vm channel`, with a hypervisor between it and a serial port.
struct Wire {
    _server: Program,
    port: PathBuf,
    stream: UnixStream,
    pumps: Vec<JoinHandle<()>>,
}

impl Wire {
    fn lay(stage: &Stage, server: &Server, vm: &str) -> Self {
        let socket = stage.path(&format!("{vm}.channel"));
        let mut answers = server.run_beside(stage, &format!("{vm}-channel"), |command| {
            command.args(["vm", "channel", vm, "--socket"]).arg(&socket);
            command.args(["--public-url", server.url()]);
        });
        while !answers.next_line().starts_with("ready ") {}
        let stream = UnixStream::connect(&socket).unwrap();
        let (port, pumps) = join(&stream);
        Self {
            _server: answers,
            port,
            stream,
            pumps,
        }
    }

    fn boot(&self, stage: &Stage, name: &str) -> Agent {
        Agent::start_configured(stage, name, |command| {
            command.arg("--channel").arg(&self.port);
            command.arg("--config").arg(impatient(stage));
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _gone = self.stream.shutdown(Shutdown::Both);
        // The pump that waits for the machine ends with the pseudo-terminal, at the latest when
        // this process does.
        let _ended = self.pumps.pop().map(JoinHandle::join);
    }
}

/// A pseudo-terminal whose other end is the stream; the pump from the stream is the last.
fn join(stream: &UnixStream) -> (PathBuf, Vec<JoinHandle<()>>) {
    let host = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&host).unwrap();
    unlockpt(&host).unwrap();
    let name = ptsname(&host, Vec::new()).unwrap();
    let port = PathBuf::from(name.to_str().unwrap());
    let mut attributes = tcgetattr(&host).unwrap();
    attributes.make_raw();
    tcsetattr(&host, OptionalActions::Now, &attributes).unwrap();
    // Held open, so that the port outlives an agent that closes it.
    let held = File::options().read(true).write(true).open(&port).unwrap();
    let (from_machine, mut to_host) = (File::from(host), stream.try_clone().unwrap());
    let (mut from_host, mut to_machine) = (
        stream.try_clone().unwrap(),
        from_machine.try_clone().unwrap(),
    );
    let upward = spawn(move || pump(from_machine, &mut to_host));
    let downward = spawn(move || {
        let _held = held;
        pump(&mut from_host, &mut to_machine);
    });
    (port, vec![upward, downward])
}

fn pump(mut from: impl Read, to: &mut impl Write) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
}

fn impatient(stage: &Stage) -> PathBuf {
    let path = stage.path("impatient.toml");
    std::fs::write(&path, "[reconnect]\nlongest_ms = 200\n").unwrap();
    path
}

fn holds(folder: &Path, what: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        std::fs::read(entry.unwrap().path()).is_ok_and(|bytes| {
            bytes
                .windows(what.len())
                .any(|window| window == what.as_bytes())
        })
    })
}

async fn a_machine_enrols_at_every_boot_with_nothing_stored_in_it(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    ada.run(&["vms", "add", "kali-1"], b"").success();
    let wire = Wire::lay(&stage, &server, "kali-1");

    let mut agent = wire.boot(&stage, "first-boot");
    agent.until_holding("openai", 1).await;
    assert!(
        !holds(stage.folder(), "kft1_"),
        "a ticket was written to a file"
    );
    agent.kill();
    ada.rotate("openai", &Secret::fresh());
    let agent = wire.boot(&stage, "second-boot");
    agent.until_holding("openai", 2).await;
}

async fn a_machine_that_was_cut_off_comes_back_by_itself_once_it_is_active_again(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    ada.run(&["vms", "add", "kali-1"], b"").success();
    let wire = Wire::lay(&stage, &server, "kali-1");
    let agent = wire.boot(&stage, "boot");
    agent.until_holding("openai", 1).await;

    ada.run(&["vms", "cut-off", "kali-1"], b"").success();
    until("the host says why there is no ticket", async || {
        let error = agent.status().await.last_error?;
        error.contains("vm_cut_off").then_some(())
    })
    .await;
    assert!(
        agent
            .status()
            .await
            .keys
            .iter()
            .all(|key| key.state != "live")
    );
    ada.run(&["vms", "allow", "kali-1"], b"").success();
    agent.until_healthy().await;
    agent.until_holding("openai", 1).await;
}
