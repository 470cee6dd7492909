//! A Redis Cluster: three primaries, and a replica for the first of them.

use std::path::PathBuf;

use crate::program::Program;
use crate::redis::{Guard, USER, certificate};
use crate::redis_node::{ask, launch, write_settings};
use crate::{Stage, free_ports, until};

/// It runs until the story ends.
pub struct RedisCluster {
    nodes: Vec<Node>,
    guard: Guard,
    ca_file: Option<PathBuf>,
}

struct Node {
    name: String,
    port: u16,
    /// Where other nodes talk to it.
    bus: u16,
    settings: PathBuf,
    program: Program,
}

impl RedisCluster {
    /// Starts it with a guard, and waits until every node serves. With [`Guard::Acl`] there is TLS
    /// too.
    pub async fn start(stage: &Stage, guard: Guard) -> Self {
        let ca_file = (guard != Guard::Open).then(|| certificate(stage));
        let more = ca_file.is_some().then(|| tls_settings(stage));
        let more = more.unwrap_or_default();
        let ports = free_ports(2 * NODES);
        let (ports, buses) = ports.split_at(NODES);
        let places = ports.iter().copied().zip(buses.iter().copied());
        let node = |(number, place)| Node::start(stage, number, (place, &more));
        let mut cluster = Self {
            nodes: places.enumerate().map(node).collect(),
            guard,
            ca_file,
        };
        cluster.join().await;
        if guard == Guard::Acl {
            cluster.order(
                0..NODES,
                &format!("ACL SETUSER {}", &USER["user ".len()..].trim()),
            );
            cluster.order(0..NODES, "ACL SETUSER default off");
        }
        cluster
    }

    /// What a server is told about it. One node is enough; it names the others.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let (scheme, user) = match self.guard {
            Guard::Open => ("redis-cluster", ""),
            Guard::Tls => ("rediss-cluster", ""),
            Guard::Acl => ("rediss-cluster", "keyferry:door-key@"),
        };
        let [first, second, ..] = &self.nodes[..] else {
            panic!("there are several nodes");
        };
        let nodes = format!("127.0.0.1:{},127.0.0.1:{}", first.port, second.port);
        let url = ("REDIS_URL", format!("{scheme}://{user}{nodes}"));
        let ca_file = self.ca_file.iter();
        let ca_file = ca_file.map(|path| ("REDIS_CA_FILE", path.display().to_string()));
        [url].into_iter().chain(ca_file).collect()
    }

    /// Kills the primary that has a replica, as a crash would.
    pub fn kill_primary(&mut self) {
        self.nodes[FOLLOWED].program.kill();
    }

    /// Lets its replica take its place, which it does not do by itself, and waits until it has.
    pub async fn replace(&self) {
        let may = "CONFIG SET cluster-replica-no-failover no";
        self.order(FOLLOWER..=FOLLOWER, may);
        until("the replica has become a primary", async || {
            let role = self.ask(FOLLOWER, "ROLE")?;
            (role.first()? == "master").then_some(())
        })
        .await;
    }

    /// Starts the killed one again.
    pub fn start_again(&mut self, stage: &Stage) {
        let node = &mut self.nodes[FOLLOWED];
        node.program = launch(stage, &node.name, &node.settings);
    }

    /// How many listen at its nodes.
    pub fn listeners(&self) -> usize {
        let told = (0..NODES).filter_map(|number| self.ask(number, "CLIENT LIST TYPE pubsub"));
        told.flatten()
            .filter(|line| line.starts_with("id="))
            .count()
    }

    /// Prints what is published at any node.
    pub fn eavesdrop(&self, stage: &Stage) -> Program {
        let port = self.nodes[FOLLOWER].port.to_string();
        let mut heard = Program::start(stage, "eavesdrop", "/usr/bin/redis-cli".into(), |cli| {
            cli.args(["-p", &port, "PSUBSCRIBE", "keyferry:*"]);
        });
        while heard.next_line() != "1" {}
        heard
    }

    async fn join(&mut self) {
        for (number, slots) in SLOTS.iter().enumerate() {
            self.order(number..=number, &format!("CLUSTER ADDSLOTSRANGE {slots}"));
            let epoch = format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1);
            self.order(number..=number, &epoch);
        }
        for node in &self.nodes[1..] {
            let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", node.port, node.bus);
            self.order(0..=0, &meet);
        }
        let known = format!("cluster_known_nodes:{NODES}");
        self.until_all_say("CLUSTER INFO", &["cluster_state:ok", &known])
            .await;
        let first = self.ask(FOLLOWED, "CLUSTER MYID").unwrap().remove(0);
        self.order(FOLLOWER..=FOLLOWER, &format!("CLUSTER REPLICATE {first}"));
        self.until_all_say("CLUSTER NODES", &["slave"]).await;
        until("the replica has what its primary has", async || {
            let told = self.ask(FOLLOWER, "INFO replication")?;
            told.contains(&"master_link_status:up".to_owned())
                .then_some(())
        })
        .await;
    }

    async fn until_all_say(&self, command: &str, words: &[&str]) {
        for number in 0..NODES {
            until("the nodes know each other", async || {
                let told = self.ask(number, command)?.join("\n");
                words.iter().all(|word| told.contains(word)).then_some(())
            })
            .await;
        }
    }

    fn order(&self, numbers: impl IntoIterator<Item = usize>, command: &str) {
        for number in numbers {
            assert_eq!(
                self.ask(number, command),
                Some(vec!["OK".to_owned()]),
                "{command}"
            );
        }
    }

    fn ask(&self, number: usize, command: &str) -> Option<Vec<String>> {
        let authority = self.ca_file.iter();
        let options: Vec<_> = authority
            .flat_map(|path| ["--tls", "--cacert", path.to_str().unwrap()])
            .map(str::to_owned)
            .collect();
        ask((self.nodes[number].port, &options), command)
    }
}

impl Node {
    fn start(stage: &Stage, number: usize, ((port, bus), more): ((u16, u16), &str)) -> Self {
        let name = format!("node-{number}");
        let cluster = format!(
            "save \"\"\ndbfilename {name}.rdb\nrepl-diskless-sync-delay 0\ncluster-enabled yes\n\
             cluster-config-file {name}.nodes\ncluster-port {bus}\ncluster-node-timeout {PATIENCE}\n\
             cluster-replica-no-failover yes\ncluster-replica-validity-factor 0\n"
        );
        // The last word counts: with TLS there is no plain port.
        let tls = match more {
            "" => String::new(),
            more => format!("port 0\ntls-port {port}\n{more}"),
        };
        let settings = write_settings(stage, &name, (port, &[cluster, tls].concat()));
        Self {
            program: launch(stage, &name, &settings),
            name,
            port,
            bus,
            settings,
        }
    }
}

fn tls_settings(stage: &Stage) -> String {
    let certificate = stage.path("redis.pem");
    format!(
        "tls-cluster yes\ntls-replication yes\ntls-auth-clients no\n\
         tls-cert-file {0}\ntls-key-file {1}\ntls-ca-cert-file {0}\n",
        certificate.display(),
        stage.path("redis.key").display(),
    )
}

const NODES: usize = 4;
const SLOTS: [&str; 3] = ["0 5460", "5461 10922", "10923 16383"];
/// The primary with a replica, and the replica.
const FOLLOWED: usize = 0;
const FOLLOWER: usize = 3;
/// Milliseconds until a silent node counts as dead.
const PATIENCE: u64 = 1_500;
