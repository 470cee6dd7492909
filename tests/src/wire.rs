//! A wire between two network namespaces that can be cut: what is sent is lost, and nobody is told.

use std::path::PathBuf;
use std::process::Command;

use crate::Stage;
use crate::program::Program;

/// From this network namespace, which must be the story's own, to a fresh one.
pub struct Wire {
    /// Keeps the other namespace.
    there: Program,
}

impl Wire {
    /// The address at this end.
    pub const HERE: &str = "10.77.0.1";
    const THERE: &str = "10.77.0.2";

    /// Lays it. The program must have been started by `unshare --net`.
    pub fn lay(stage: &Stage) -> Self {
        let links = run(ip("-oneline link show"));
        assert_eq!(links.lines().count(), 1, "others use this network: {links}");
        let mut there = Program::start(stage, "there", "/usr/bin/unshare".into(), |command| {
            command.args(["--net", "sh", "-c", "echo ready; exec sleep infinity"]);
        });
        there.next_line();
        let wire = Self { there };
        run(ip(&format!(
            "link add near type veth peer name far netns {}",
            wire.there.pid()
        )));
        for (line, address) in [("near", Self::HERE), ("far", Self::THERE)] {
            let set = |what: &str| {
                run(match line {
                    "near" => ip(what),
                    _ => wire.ip_there(what),
                })
            };
            set("link set lo up");
            set(&format!("address add {address}/30 dev {line}"));
            set(&format!("link set {line} up"));
        }
        wire
    }

    /// From now on both ends send to a neighbour that is not there.
    pub fn cut(&self) {
        run(ip(&format!(
            "neigh replace {} {NOBODY} dev near",
            Self::THERE
        )));
        run(self.ip_there(&format!("neigh replace {} {NOBODY} dev far", Self::HERE)));
    }

    /// Both ends look for each other anew.
    pub fn mend(&self) {
        run(ip(&format!("neigh del {} dev near", Self::THERE)));
        run(self.ip_there(&format!("neigh del {} dev far", Self::HERE)));
    }

    /// Has a program run at the other end.
    pub(crate) fn wrap(&self, command: &mut Command, program: PathBuf) {
        command.arg(self.entrance()).arg("--").arg(program);
    }

    fn ip_there(&self, what: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.entrance()).arg("ip").args(what.split(' '));
        command
    }

    fn entrance(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.there.pid())
    }
}

fn ip(what: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(what.split(' '));
    command
}

fn run(mut command: Command) -> String {
    let output = command
        .output()
        .expect("iproute2 is not installed: apt-get install iproute2");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

const NOBODY: &str = "lladdr 02:00:00:00:00:01 nud permanent";
