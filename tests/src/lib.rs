//! The stage for stories through the real programs: a private database, and processes that end
//! with the test.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a harness fails by panicking"
)]

mod agent;
mod answer;
mod authenticator;
mod authority;
mod balancer;
mod browser;
mod caller;
mod channel;
mod curl;
mod engine;
pub mod faults;
pub mod fleet;
mod held;
mod held_back;
mod mail_server;
mod oidc;
mod operator;
mod person;
mod pgbouncer;
mod ports;
mod postgres;
mod program;
mod provider;
mod raw;
mod receiver;
mod redis;
mod redis_cluster;
mod redis_node;
mod relay;
mod replicas;
mod sdks;
mod secret;
mod sentinel;
mod server;
mod small_disk;
mod small_room;
mod stage;
mod terminal;
mod tool;
mod waiting;
mod wall_clock;
mod wire;

pub use agent::Agent;
pub use answer::Answer;
pub use authenticator::code_now;
pub use authority::Authority;
pub use balancer::{Balancer, Front};
pub use browser::{Browser, Said};
pub use caller::Caller;
pub use channel::{Channel, MachineWire};
pub use curl::{CurlAnswer, curl};
pub use engine::Engine;
pub use held::Held;
pub use held_back::HeldBack;
pub use mail_server::{MailServer, Talk, token_in};
pub use oidc::OidcProvider;
pub use operator::Operator;
pub use person::{PASSWORD, Person};
pub use pgbouncer::PgBouncer;
pub use ports::{free_port, free_ports};
use postgres::postgres_user;
pub use postgres::{Database, Room};
pub use program::{Program, binary, copy_of, example};
pub use provider::{Provider, Seen, Speaks};
pub use raw::{Raw, RawAnswer};
pub use receiver::{Receiver, Sent};
pub use redis::{Guard, Redis};
pub use redis_cluster::RedisCluster;
pub use relay::Relay;
pub use replicas::{Replicas, Shared};
pub use sdks::{
    node_with_openai, python_with_fernet, python_with_opentelemetry, python_with_schemathesis,
    python_with_sdks, rotel,
};
pub use secret::Secret;
pub use sentinel::Sentinel;
pub use server::Server;
pub use small_disk::SmallDisk;
pub use small_room::SmallRoom;
pub use stage::Stage;
pub use terminal::Terminal;
pub use tool::Tool;
pub use waiting::{PATIENCE, promptly, until, until_the_day_is_long_enough};
pub use wall_clock::WallClock;
pub use wire::Wire;

/// Makes two tests of every story: one on SQLite, one on PostgreSQL.
#[macro_export]
macro_rules! on_both_engines {
    ($($story:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() { super::$story($crate::Engine::Sqlite).await; })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() { super::$story($crate::Engine::Postgres).await; })+
        }
    };
}
