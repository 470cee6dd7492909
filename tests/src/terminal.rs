//! A command at a terminal: it asks, and somebody types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::PATIENCE;

/// A running command, and its terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    line: File,
    output: Receiver<Vec<u8>>,
    /// Everything that was shown.
    screen: String,
    /// How much of it an expectation has used up.
    read: usize,
}

impl Terminal {
    /// Starts `command` with a new terminal as its own.
    pub(crate) fn start(command: &Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let line = File::options().read(true).write(true).open(name).unwrap();
        let stream = || OwnedFd::from(line.try_clone().unwrap());
        let mut on_terminal = Command::new("setsid");
        on_terminal.args(["--ctty", "--wait"]);
        on_terminal
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        for (name, value) in command.get_envs() {
            on_terminal.env(name, value.unwrap());
        }
        let child = on_terminal
            .stdin(stream())
            .stdout(stream())
            .stderr(stream());
        Self {
            child: child.spawn().expect("setsid is part of every distribution"),
            output: follow(ours.try_clone().unwrap().into()),
            keyboard: ours.into(),
            line,
            screen: String::new(),
            read: 0,
        }
    }

    /// Waits until it shows `text`, after everything that was waited for before.
    pub fn shows(&mut self, text: &str) {
        let begin = Instant::now();
        loop {
            if let Some(at) = self.screen.get(self.read..).and_then(|new| new.find(text)) {
                self.read += at + text.len();
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "`{text}` is not shown: {}",
                self.screen
            );
            if let Ok(more) = self.output.recv_timeout(Duration::from_millis(100)) {
                self.screen.push_str(&String::from_utf8_lossy(&more));
            }
        }
    }

    /// Waits until it asks with `prompt` for something that is not shown, and types that.
    pub fn is_asked(&mut self, prompt: &str, secret: &str) {
        self.shows(prompt);
        let begin = Instant::now();
        while tcgetattr(&self.line)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO)
        {
            assert!(begin.elapsed() < PATIENCE, "`{prompt}` shows what is typed");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.types(secret);
    }

    /// Types a line.
    pub fn types(&mut self, text: &str) {
        writeln!(self.keyboard, "{text}").unwrap();
    }

    /// Waits until it ends: its exit code, and everything that its terminal has shown.
    pub fn ends(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        self.types(END);
        self.shows(END);
        (code, std::mem::take(&mut self.screen))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A child that has ended already cannot be killed again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(mut screen: File) -> Receiver<Vec<u8>> {
    let (sender, output) = channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = screen.read(&mut piece) {
            if sender.send(piece[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    output
}

/// Echoed by the terminal behind everything else, once the command has restored it.
const END: &str = "--- the end ---";
