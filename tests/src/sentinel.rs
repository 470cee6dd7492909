//! A Redis that fails over: a primary, two replicas, and a Sentinel that watches them.

use std::path::PathBuf;

use crate::program::Program;
use crate::redis_node::{REDIS, ask, launch, write_settings};
use crate::{Stage, free_ports, until};

/// They run until the story ends.
pub struct Sentinel {
    nodes: Vec<Node>,
    port: u16,
    _program: Program,
}

struct Node {
    port: u16,
    settings: PathBuf,
    program: Program,
}

impl Sentinel {
    /// Starts them, and waits until the Sentinel knows the replicas.
    pub async fn start(stage: &Stage) -> Self {
        let mut ports = free_ports(NODES + 1);
        let port = ports.pop().unwrap();
        let node = |(number, port): (usize, &u16)| {
            let role = match number {
                0 => String::new(),
                _ => format!("replicaof 127.0.0.1 {}\n", ports[0]),
            };
            Node::start(stage, &format!("redis-{number}"), (*port, &role))
        };
        let nodes: Vec<_> = ports.iter().enumerate().map(node).collect();
        let watched = format!(
            "sentinel monitor {SERVICE} 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds {SERVICE} 1500\n\
             sentinel failover-timeout {SERVICE} 3000\n",
            ports[0]
        );
        let settings = write_settings(stage, "sentinel", (port, &watched));
        let program = Program::start(stage, "sentinel", REDIS.into(), |command| {
            command.arg(settings).arg("--sentinel");
        });
        let watching = Self {
            nodes,
            port,
            _program: program,
        };
        // A Sentinel whose own timer was late, as on a busy machine, does nothing for half a minute.
        until("the Sentinel listens", async || {
            let _older_ones_do_not_know_it = watching.ask("SENTINEL DEBUG tilt-trigger 60000")?;
            Some(())
        })
        .await;
        until("the Sentinel knows the replicas", async || {
            let master = watching.ask(&format!("SENTINEL master {SERVICE}"))?;
            let at = master.iter().position(|word| word == "num-slaves")?;
            (master.get(at + 1)?.parse() == Ok(NODES - 1)).then_some(())
        })
        .await;
        watching
    }

    /// For `REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis-sentinel://127.0.0.1:{}/{SERVICE}", self.port)
    }

    /// Kills the primary as a crash would, and tells which it was.
    pub fn kill_primary(&mut self) -> usize {
        let number = self.primary().unwrap();
        self.nodes[number].program.kill();
        number
    }

    /// Waits until another one than this is the primary.
    pub async fn until_led_by_another(&self, number: usize) {
        until("a replica has become the primary", async || {
            self.primary().filter(|primary| *primary != number)
        })
        .await;
    }

    /// Starts one again that was killed; it begins as it was, for nobody has told it better.
    pub fn start_again(&mut self, stage: &Stage, number: usize) {
        let node = &mut self.nodes[number];
        node.program = launch(stage, &format!("redis-{number}"), &node.settings);
    }

    /// Which one the Sentinel names.
    pub fn primary(&self) -> Option<usize> {
        let named = self.ask(&format!("SENTINEL get-master-addr-by-name {SERVICE}"))?;
        let port: u16 = named.get(1)?.parse().ok()?;
        self.nodes.iter().position(|node| node.port == port)
    }

    /// How many listen at the primary, beside the Sentinel itself.
    pub fn listeners(&self) -> usize {
        let port = self.primary().map(|number| self.nodes[number].port);
        let told = port.and_then(|port| ask((port, &[]), "CLIENT LIST TYPE pubsub"));
        let told = told.unwrap_or_default().into_iter();
        told.filter(|line| line.starts_with("id=") && !line.contains("name=sentinel"))
            .count()
    }

    fn ask(&self, command: &str) -> Option<Vec<String>> {
        ask((self.port, &[]), command)
    }
}

impl Node {
    fn start(stage: &Stage, name: &str, (port, role): (u16, &str)) -> Self {
        let more = format!("save \"\"\ndbfilename {name}.rdb\nrepl-diskless-sync-delay 0\n{role}");
        let settings = write_settings(stage, name, (port, &more));
        let mut program = launch(stage, name, &settings);
        while !role.is_empty() && !program.next_line().contains("sync: Finished with success") {}
        Self {
            port,
            settings,
            program,
        }
    }
}

const NODES: usize = 3;
const SERVICE: &str = "keyferry";
