//! A private PostgreSQL: one cluster a test process, one database a story.
//!
//! A small shell process owns the cluster. It waits for the end of its input, which comes when the
//! test process is gone for whatever reason, then stops PostgreSQL and removes its folder.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::geteuid;
use sqlx::{Connection, PgConnection};

/// A fresh, empty database.
pub struct Database {
    url: String,
}

impl Database {
    /// Makes a database that no other story sees. Fails where PostgreSQL is not installed.
    pub async fn create() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let cluster = CLUSTER.get_or_init(Cluster::start);
        let name = format!("story_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&cluster.url("postgres"))
            .await
            .unwrap();
        let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(statement)
            .execute(&mut connection)
            .await
            .unwrap();
        Self {
            url: cluster.url(&name),
        }
    }

    /// Where the cluster keeps everything.
    pub fn folder(&self) -> &Path {
        &CLUSTER
            .get()
            .expect("a database is made in a cluster")
            .folder
    }

    /// For `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

struct Cluster {
    folder: PathBuf,
    /// The end of its input, which comes with our own end, tells it to clean up.
    _owner: Child,
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("keyferry-pg-")
            .tempdir()
            .unwrap()
            .keep();
        let mut owner = owner_command(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts PostgreSQL");
        let mut first = String::new();
        BufReader::new(owner.stdout.take().unwrap())
            .read_line(&mut first)
            .unwrap();
        assert!(
            first == "ready\n",
            "PostgreSQL does not start: see {}",
            folder.display()
        );
        Self {
            folder,
            _owner: owner,
        }
    }

    fn url(&self, database: &str) -> String {
        format!(
            "postgres:///{database}?host={}&user=keyferry",
            self.folder.display()
        )
    }
}

/// PostgreSQL refuses to run as root: root lends the cluster to the user `postgres`.
fn owner_command(folder: &Path) -> Command {
    let mut command = if geteuid().is_root() {
        let (user, group) = postgres_user();
        chown(folder, Some(user), Some(group)).unwrap();
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={user}"))
            .arg(format!("--regid={group}"));
        command.args(["--clear-groups", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    command
        .args(["-c", OWNER, "keyferry-postgres"])
        .arg(folder)
        .arg(programs_folder());
    command
}

fn postgres_user() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users
        .lines()
        .find_map(|line| line.strip_prefix("postgres:"));
    let numbers: Option<Vec<u32>> = line.map(|line| {
        line.split(':')
            .skip(1)
            .take(2)
            .flat_map(str::parse)
            .collect()
    });
    match numbers.as_deref() {
        Some([user, group]) => (*user, *group),
        _ => panic!("there is no user `postgres`: apt-get install postgresql"),
    }
}

/// The newest PostgreSQL of the distribution, at least 15.
fn programs_folder() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let versions = installed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    match versions.max() {
        Some(version @ 15..) => format!("/usr/lib/postgresql/{version}/bin").into(),
        older => {
            panic!("PostgreSQL 15 or newer is needed, found {older:?}: apt-get install postgresql")
        }
    }
}

const OWNER: &str = r#"
set -eu
trap '' INT
folder=$1
PATH=$2:$PATH
initdb --pgdata="$folder/data" --username=keyferry --auth=trust --encoding=UTF8 --no-sync \
    >"$folder/initdb.log" 2>&1
postgres -D "$folder/data" -k "$folder" -c listen_addresses= -c fsync=off \
    -c max_connections=200 >"$folder/postgres.log" 2>&1 </dev/null &
server=$!
until pg_isready --quiet --host="$folder"; do
    kill -0 "$server"
    sleep 0.05
done
echo ready
cat >/dev/null
kill -INT "$server"
wait "$server" || true
rm -rf "$folder"
"#;
