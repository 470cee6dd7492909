//! The wire that a host lays into a machine: `keyferry-server vm channel`, and what the hypervisor
//! does, which joins a serial port in the machine to the server's Unix socket. A pair of threads and
//! a pseudo-terminal play its part.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::{JoinHandle, spawn};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::{Agent, Program, Server, Stage};

/// A running `keyferry-server vm channel`.
pub struct Channel {
    _answers: Program,
    socket: PathBuf,
}

/// A hypervisor's connection to it, and the port in the machine.
pub struct MachineWire {
    port: PathBuf,
    stream: UnixStream,
    pumps: Vec<JoinHandle<()>>,
}

impl Channel {
    /// Answers one machine.
    pub fn open(stage: &Stage, server: &Server, vm: &str) -> Self {
        let socket = stage.path(&format!("{vm}.channel"));
        let mut answers = server.run_beside(stage, &format!("{vm}-channel"), |command| {
            command.args(["vm", "channel", vm, "--socket"]).arg(&socket);
            command.args(["--public-url", server.url()]);
        });
        while !answers.next_line().starts_with("ready ") {}
        Self {
            _answers: answers,
            socket,
        }
    }

    /// A hypervisor connects a machine.
    pub fn wire(&self) -> MachineWire {
        let stream = UnixStream::connect(&self.socket).unwrap();
        let (port, pumps) = join(&stream);
        MachineWire {
            port,
            stream,
            pumps,
        }
    }
}

impl MachineWire {
    /// The machine boots, and its agent finds the port.
    pub fn boot(&self, stage: &Stage, name: &str) -> Agent {
        let settings = stage.path("impatient.toml");
        std::fs::write(&settings, "[reconnect]\nlongest_ms = 200\n").unwrap();
        Agent::start_configured(stage, name, |command| {
            command.arg("--channel").arg(&self.port);
            command.arg("--config").arg(settings);
        })
    }
}

impl Drop for MachineWire {
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
