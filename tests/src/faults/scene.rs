//! What a fault is done to: a server with everything around it, and an agent.

use crate::{
    Agent, Channel, Engine, MachineWire, Operator, Person, Redis, Relay, Room, Sentinel, Server,
    SmallDisk, Stage, WallClock, Wire,
};

use super::Fault;

/// What is declared first ends first.
pub(super) struct Scene {
    pub(super) agent: Agent,
    pub(super) server: Server,
    _beside: Option<Server>,
    breaks: Breaks,
    stage: Stage,
    fault: Fault,
}

/// What the fault needs, beside agent, server and database.
enum Breaks {
    Nothing,
    Clock(WallClock),
    Redis(Redis),
    Sentinel(Sentinel, Option<usize>),
    Relay(Relay),
    Wire(Wire),
    Disk(SmallDisk),
    /// What the agent's machine boots with.
    Host {
        wire: MachineWire,
        _channel: Channel,
    },
}

impl Scene {
    pub(super) async fn set(fault: Fault) -> Self {
        let stage = match fault {
            Fault::DatabaseFull => Stage::with_postgres_in(Room::Small(160)).await,
            Fault::AuditFull => Stage::with_postgres_in(Room::SmallBeside(8)).await,
            // PostgreSQL does not run as somebody who is root only in a namespace.
            Fault::WireCut | Fault::FileFull => Stage::new(Engine::Sqlite).await,
            _ => Stage::with_own_postgres().await,
        };
        let mut breaks = Breaks::of(fault, &stage).await;
        let server = breaks.start_server(&stage);
        let ada = Person::register(&stage, &server, "ada");
        if fault == Fault::AgentKilled {
            ada.run(&["vms", "add", "kali-1"], b"").success();
            let channel = Channel::open(&stage, &server, "kali-1");
            breaks = Breaks::Host {
                wire: channel.wire(),
                _channel: channel,
            };
        }
        let beside = breaks.start_another(&stage);
        let agent = match (&breaks, &beside) {
            (Breaks::Host { wire, .. }, _) => wire.boot(&stage, "kali-1"),
            (Breaks::Wire(wire), _) => Agent::enrol_behind(&stage, &ada, "kali-1", wire).await,
            (_, Some(beside)) => {
                let there = Person::new(&stage, "there");
                there.log_in(beside, "ada");
                Agent::enrol(&stage, &there, "kali-1").await
            }
            _ => Agent::enrol(&stage, &ada, "kali-1").await,
        };
        if fault == Fault::AuditFull {
            let database = stage.database().expect("the stage has a PostgreSQL");
            database.put_aside("audit_events").await;
        }
        Self {
            agent,
            server,
            _beside: beside,
            breaks,
            stage,
            fault,
        }
    }

    pub(super) async fn strike(&mut self) {
        match (self.fault, &mut self.breaks) {
            (Fault::ServerKilled, _) => self.server.kill(),
            (Fault::ServerPaused, _) => self.server.pause(),
            (Fault::AgentPaused, _) => self.agent.pause(),
            (Fault::AgentKilled, _) => self.agent.kill(),
            (Fault::ClockAhead, Breaks::Clock(clock)) => clock.set_ahead(HOUR),
            (Fault::ClockBehind, Breaks::Clock(clock)) => clock.set_ahead(-HOUR),
            (Fault::RedisPaused, Breaks::Redis(redis)) => redis.pause(),
            (_, Breaks::Redis(redis)) => redis.kill(),
            (_, Breaks::Sentinel(sentinel, killed)) => *killed = Some(sentinel.kill_primary()),
            (_, Breaks::Relay(relay)) => relay.cut(),
            (_, Breaks::Wire(wire)) => wire.cut(),
            (_, Breaks::Disk(disk)) => disk.fill(),
            (fault, _) => {
                let database = self.stage.database().expect("the stage has a PostgreSQL");
                match fault {
                    Fault::DatabaseKilled => database.kill(),
                    Fault::DatabasePaused => database.pause(),
                    _ => database.fill(),
                }
            }
        }
    }

    pub(super) async fn heal(&mut self) {
        match (self.fault, &mut self.breaks) {
            (Fault::ServerKilled, _) => self.server.start_again(&self.stage),
            (Fault::ServerPaused, _) => self.server.resume(),
            (Fault::AgentPaused, _) => self.agent.resume(),
            (_, Breaks::Clock(clock)) => clock.set_ahead(0),
            (Fault::RedisPaused, Breaks::Redis(redis)) => redis.resume(),
            (_, Breaks::Redis(redis)) => redis.start_again(&self.stage),
            (_, Breaks::Sentinel(sentinel, killed)) => {
                let killed = killed.take().expect("the primary was killed");
                sentinel.until_led_by_another(killed).await;
                sentinel.start_again(&self.stage, killed);
            }
            (_, Breaks::Relay(relay)) => relay.mend(),
            (_, Breaks::Wire(wire)) => wire.mend(),
            (_, Breaks::Disk(disk)) => disk.empty(),
            (_, Breaks::Host { wire, .. }) => self.agent = wire.boot(&self.stage, "kali-1"),
            (fault, _) => {
                let database = self.stage.database().expect("the stage has a PostgreSQL");
                match fault {
                    Fault::DatabaseKilled => database.start_again(),
                    Fault::DatabasePaused => database.resume(),
                    _ => database.empty(),
                }
            }
        }
    }

    /// Fails unless the audit is whole, and every sealed record opens.
    pub(super) fn verify(&self) {
        let operator = Operator::of(&self.stage);
        // After an hour ahead it says, rightly, that there are events of times to come.
        if self.fault != Fault::ClockAhead {
            assert_eq!(operator.ask(&["verify"])["ok"], true);
        }
        operator.run(&["audit", "verify"], b"").success();
    }
}

impl Breaks {
    async fn of(fault: Fault, stage: &Stage) -> Self {
        match fault {
            Fault::ClockAhead | Fault::ClockBehind => Self::Clock(WallClock::right(stage)),
            Fault::RedisKilled | Fault::RedisPaused => Self::Redis(Redis::start(stage)),
            Fault::RedisFailedOver => Self::Sentinel(Sentinel::start(stage).await, None),
            Fault::NetworkCut => Self::Relay(Relay::new()),
            Fault::WireCut => Self::Wire(Wire::lay(stage)),
            Fault::FileFull => Self::Disk(SmallDisk::mount(stage, 12)),
            _ => Self::Nothing,
        }
    }

    /// Which Redis the servers share.
    fn of_redis(&self) -> Vec<(&'static str, String)> {
        let url = match self {
            Self::Redis(redis) => redis.url().to_owned(),
            Self::Sentinel(sentinel, _) => sentinel.url(),
            _ => return Vec::new(),
        };
        vec![("REDIS_URL", url)]
    }

    /// For what goes between servers: one more, where the agent is.
    fn start_another(&self, stage: &Stage) -> Option<Server> {
        if !matches!(self, Self::Redis(_) | Self::Sentinel(..)) {
            return None;
        }
        let folder = stage.path("beside");
        std::fs::create_dir(&folder).unwrap();
        for file in ["master.key", "tls-certificate.pem", "tls-key.pem"] {
            std::fs::copy(stage.data_dir().join(file), folder.join(file)).unwrap();
        }
        Some(Server::start_elsewhere(
            stage,
            &folder,
            &borrowed(&self.of_redis()),
        ))
    }

    fn start_server(&self, stage: &Stage) -> Server {
        match self {
            Self::Clock(clock) => Server::start_with(stage, &clock.settings()),
            Self::Relay(relay) => {
                let url = format!("https://127.0.0.1:{}", relay.port());
                let server = Server::start_with(stage, &[("KEYFERRY_PUBLIC_URL", &url)]);
                relay.lead_to(&server);
                server
            }
            Self::Wire(_) => Server::start_at(stage, &format!("{}:0", Wire::HERE), &[]),
            _ => Server::start_with(stage, &borrowed(&self.of_redis())),
        }
    }
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    let settings = settings.iter();
    settings
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

const HOUR: i64 = 3_600;
