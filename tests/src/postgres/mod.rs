//! A private PostgreSQL: one cluster a test process and one database a story, or a cluster that a
//! story has for itself and may ill-treat.

mod cluster;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::Signal;
use sqlx::{Connection, PgConnection};

use cluster::Cluster;

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

/// A fresh, empty database.
pub struct Database {
    url: String,
    cluster: Arc<Cluster>,
}

impl Database {
    /// Makes a database that no other story sees. Fails where PostgreSQL is not installed.
    pub async fn create() -> Self {
        static SHARED: OnceLock<Arc<Cluster>> = OnceLock::new();
        let cluster = SHARED.get_or_init(|| Arc::new(Cluster::start(Room::Plenty)));
        Self::create_in(Arc::clone(cluster)).await
    }

    /// The same in a cluster of its own, which can be killed and paused.
    pub async fn create_alone(room: Room) -> Self {
        Self::create_in(Arc::new(Cluster::start(room))).await
    }

    async fn create_in(cluster: Arc<Cluster>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("story_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&cluster.url("postgres"))
            .await
            .unwrap();
        let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
        let url = cluster.url(&name);
        Self { url, cluster }
    }

    /// Where the cluster keeps everything.
    pub fn folder(&self) -> &Path {
        &self.cluster.folder
    }

    /// For `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
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
