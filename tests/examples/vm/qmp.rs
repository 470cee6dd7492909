//! QEMU's control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

/// A connection to a running QEMU.
pub(crate) struct Qmp(BufReader<UnixStream>);

impl Qmp {
    /// Takes over a connection, whose greeting has not been read yet.
    pub(crate) fn greet(stream: UnixStream) -> Self {
        let mut qmp = Self(BufReader::new(stream));
        let greeting = qmp.next();
        assert!(greeting.get("QMP").is_some(), "{greeting}");
        qmp.execute("qmp_capabilities", &json!({}));
        qmp
    }

    /// Carries out one command, and gives its answer. Events are passed over.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Value {
        let line = json!({"execute": command, "arguments": arguments});
        writeln!(self.0.get_mut(), "{line}").unwrap();
        loop {
            let mut answer = self.next();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(result) = answer.get_mut("return") {
                return result.take();
            }
        }
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        assert!(read > 0, "QEMU has ended");
        serde_json::from_str(&line).unwrap()
    }
}
