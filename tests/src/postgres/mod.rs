//! A private PostgreSQL: one cluster a test process and one database a story, or a cluster that a
//! story has for itself and may ill-treat.

mod cluster;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::Signal;
use sqlx::{Connection, PgConnection};

use crate::Authority;
use cluster::Cluster;
pub(crate) use cluster::postgres_user;

/// How much room a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// As much as the machine.
    Plenty,
    /// Everything is on a disk of its own of so many megabytes.
    Small(u32),
    /// There is a second disk of so many megabytes, for one table.
    SmallBeside(u32),
}

/// A fresh database.
pub struct Database {
    name: String,
    url: String,
    server_url: String,
    cluster: Arc<Cluster>,
}

/// What a fresh database holds.
#[derive(Clone, Copy)]
enum Contents {
    /// Nothing: who connects owns it.
    Nothing,
    /// The schema, whose owner has given servers what they need and no more.
    Schema,
}

impl Database {
    /// Makes a database that no other story sees, with the schema. Servers are a role in it that
    /// owns nothing. Fails where PostgreSQL is not installed.
    pub async fn create() -> Self {
        Self::create_in(Self::shared(), Contents::Schema).await
    }

    /// The same with nothing in it, owned by whoever connects.
    pub async fn create_empty() -> Self {
        Self::create_in(Self::shared(), Contents::Nothing).await
    }

    /// One with the schema in a cluster of its own, which can be killed and paused.
    pub async fn create_alone(room: Room) -> Self {
        Self::create_in(Arc::new(Cluster::start(room)), Contents::Schema).await
    }

    fn shared() -> Arc<Cluster> {
        static SHARED: OnceLock<Arc<Cluster>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(|| Arc::new(Cluster::start(Room::Plenty))))
    }

    async fn create_in(cluster: Arc<Cluster>, contents: Contents) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("story_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (template, server) = match contents {
            Contents::Nothing => ("template1", OWNER),
            Contents::Schema => (cluster.template().await, SERVER),
        };
        let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
        cluster.execute(&statement).await;
        Self {
            url: cluster.url(&name, OWNER),
            server_url: cluster.url(&name, server),
            name,
            cluster,
        }
    }

    /// Where the cluster keeps everything.
    pub fn folder(&self) -> &Path {
        &self.cluster.folder
    }

    /// For the owner's `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// For the servers'.
    pub fn server_url(&self) -> &str {
        &self.server_url
    }

    /// For the `DATABASE_URL` of another role.
    pub fn url_of(&self, role: &str) -> String {
        self.cluster.url(&self.name, role)
    }

    /// Kills PostgreSQL with all its processes, as a crash of its machine would.
    pub fn kill(&self) {
        self.own_cluster().signal(Signal::KILL);
    }

    /// Starts PostgreSQL again after [`kill`](Self::kill), and waits until it has recovered.
    pub fn start_again(&self) {
        self.own_cluster().start_again();
    }

    /// Stops PostgreSQL where it stands: connections stay open, and nothing answers.
    pub fn pause(&self) {
        self.own_cluster().signal(Signal::STOP);
    }

    /// Lets PostgreSQL go on.
    pub fn resume(&self) {
        self.own_cluster().signal(Signal::CONT);
    }

    /// Has PostgreSQL listen at a port of 127.0.0.1 for whoever speaks TLS, with a certificate of this
    /// authority for that address alone, and gives the address of the database there. Servers need no
    /// certificate, the owner does.
    pub async fn listen(&self, authority: &Authority) -> String {
        let cluster = self.own_cluster();
        cluster.listen(authority).await;
        self.kill();
        self.start_again();
        format!("127.0.0.1:{}/{}", cluster.port, self.name)
    }

    /// Moves a table to the small disk beside.
    pub async fn put_aside(&self, table: &str) {
        let place = self.folder().join("room/tables");
        self.own_cluster().order("tables");
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        for statement in [
            format!("CREATE TABLESPACE beside LOCATION '{}'", place.display()),
            format!("ALTER TABLE {table} SET TABLESPACE beside"),
        ] {
            let statement = sqlx::query(sqlx::AssertSqlSafe(statement));
            statement.execute(&mut connection).await.unwrap();
        }
    }

    /// Fills the small disk to the last byte.
    pub fn fill(&self) {
        self.own_cluster().order("fill");
    }

    /// Makes room again, and starts PostgreSQL where the full disk has ended it, as a supervisor
    /// would.
    pub fn empty(&self) {
        let cluster = self.own_cluster();
        cluster.order("empty");
        if cluster.has_ended() {
            cluster.start_again();
        }
    }

    fn own_cluster(&self) -> &Cluster {
        assert!(
            Arc::strong_count(&self.cluster) == 1,
            "other stories use this PostgreSQL: make the database with `create_alone`"
        );
        &self.cluster
    }
}

/// Who made the clusters.
const OWNER: &str = "keyferry";
/// Who servers are.
const SERVER: &str = "keyferry_server";
