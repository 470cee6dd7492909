//! A root shell in the machine, over a serial port.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// The other end of `tests/vm/shell`.
pub(crate) struct Shell {
    port: UnixStream,
    read: Vec<u8>,
    commands: u64,
}

/// What a command printed, and its exit code.
pub(crate) struct Ran {
    pub(crate) output: String,
    pub(crate) code: i32,
}

impl Shell {
    pub(crate) fn over(port: UnixStream) -> Self {
        port.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self {
            port,
            read: Vec::new(),
            commands: 0,
        }
    }

    /// Runs one command that must succeed.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let ran = self.attempt(command);
        assert_eq!(ran.code, 0, "{command}: {}", ran.output);
        ran.output
    }

    /// Runs one command. What is left over from before a reboot is passed over.
    pub(crate) fn attempt(&mut self, command: &str) -> Ran {
        self.commands += 1;
        let number = self.commands;
        // Each mark is in two pieces, so that an echo of the line would not be taken for it.
        let line = format!("echo 'BEGIN'{number}.; ({command}\n) 2>&1; echo 'END'{number}.$?.\n");
        self.port.write_all(line.as_bytes()).unwrap();
        self.until(&format!("BEGIN{number}.\n"));
        let output = self.until(&format!("END{number}."));
        let code = self.until(".\n");
        Ran {
            output,
            code: code.parse().unwrap(),
        }
    }

    /// Shows what a command prints, if the machine still answers.
    pub(crate) fn tell(&mut self, command: &str) {
        let line = format!("({command}) 2>&1; echo 'TO''LD'\n");
        let _ = self.port.write_all(line.as_bytes());
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(20) && !self.read.ends_with(b"TOLD\n") {
            let mut bytes = [0; 4096];
            let length = self.port.read(&mut bytes).unwrap_or_default();
            self.read.extend(bytes.iter().take(length));
        }
        println!("{}", String::from_utf8_lossy(&self.read));
    }

    /// Everything up to this mark.
    fn until(&mut self, mark: &str) -> String {
        let begin = Instant::now();
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if let Some((before, after)) = text.split_once(mark) {
                self.read = after.as_bytes().to_vec();
                return before.to_owned();
            }
            let mut bytes = [0; 4096];
            match self.port.read(&mut bytes) {
                Ok(0) => panic!("the machine has ended; it said: {text}"),
                Ok(length) => self.read.extend(bytes.iter().take(length)),
                Err(_nothing_yet) => {
                    assert!(begin.elapsed() < PATIENCE, "no {mark:?}; so far: {text}");
                }
            }
        }
    }

    /// Waits until the shell of a machine that may be booting answers, and tells which boot it is.
    pub(crate) fn until_it_answers(&mut self) -> String {
        let (begin, first) = (Instant::now(), self.commands + 1);
        loop {
            self.commands += 1;
            let number = self.commands;
            let line = format!("\necho 'HERE'{number}.$(cat /proc/sys/kernel/random/boot_id).\n");
            // While nobody has opened the port in the machine, what is written waits or is lost.
            let _ = self.port.write_all(line.as_bytes());
            let mut bytes = [0; 4096];
            let length = self.port.read(&mut bytes).unwrap_or_default();
            self.read.extend(bytes.iter().take(length));
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if let Some(boot) = text
                .split("HERE")
                .find_map(|answer| boot_since(first, answer))
            {
                self.read.clear();
                return boot;
            }
            let waited = begin.elapsed();
            assert!(waited < PATIENCE, "the shell does not answer: {text}");
        }
    }
}

/// `NUMBER.BOOT.`, if the question was this one or a later one.
fn boot_since(first: u64, answer: &str) -> Option<String> {
    let mut parts = answer.split('.');
    let number: u64 = parts.next()?.parse().ok()?;
    let boot = parts.next()?;
    parts.next()?;
    (number >= first).then(|| boot.to_owned())
}
