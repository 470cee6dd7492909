//! A private PostgreSQL: one cluster a test process and one database a story, or a cluster that a
//! story has for itself and may ill-treat.
//!
//! A small shell process owns the cluster. It waits for the end of its input, which comes when the
//! test process is gone for whatever reason, then stops PostgreSQL and removes its folder.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{Connection, PgConnection};

/// A fresh, empty database.
pub struct Database {
    url: String,
    cluster: Arc<Cluster>,
}

impl Database {
    /// Makes a database that no other story sees. Fails where PostgreSQL is not installed.
    pub async fn create() -> Self {
        static SHARED: OnceLock<Arc<Cluster>> = OnceLock::new();
        let cluster = SHARED.get_or_init(|| Arc::new(Cluster::start()));
        Self::create_in(Arc::clone(cluster)).await
    }

    /// The same in a cluster of its own, which can be killed and paused.
    pub async fn create_alone() -> Self {
        Self::create_in(Arc::new(Cluster::start())).await
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

    fn own_cluster(&self) -> &Cluster {
        assert!(
            Arc::strong_count(&self.cluster) == 1,
            "other stories use this PostgreSQL: make the database with `create_alone`"
        );
        &self.cluster
    }
}

struct Cluster {
    folder: PathBuf,
    owner: Mutex<Owner>,
}

/// The shell. The end of its input, which comes with our own end, tells it to clean up.
struct Owner {
    shell: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    postmaster: Pid,
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("keyferry-pg-")
            .tempdir()
            .unwrap()
            .keep();
        let mut shell = owner_command(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts PostgreSQL");
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        let postmaster = started(&mut output, &folder);
        let owner = Mutex::new(Owner {
            input: shell.stdin.take(),
            shell,
            output,
            postmaster,
        });
        Self { folder, owner }
    }

    fn start_again(&self) {
        let mut owner = self.owner.lock().unwrap();
        owner.input.as_mut().unwrap().write_all(b"start\n").unwrap();
        owner.postmaster = started(&mut owner.output, &self.folder);
    }

    /// Children first: a dead parent has none to be found.
    fn signal(&self, signal: Signal) {
        let postmaster = self.owner.lock().unwrap().postmaster;
        let pid = postmaster.as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        for child in children.unwrap_or_default().split_ascii_whitespace() {
            if let Some(child) = child.parse().ok().and_then(Pid::from_raw) {
                // It may have ended meanwhile.
                let _ = kill_process(child, signal);
            }
        }
        kill_process(postmaster, signal).unwrap();
    }

    fn url(&self, database: &str) -> String {
        format!(
            "postgres:///{database}?host={}&user=keyferry",
            self.folder.display()
        )
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.shell.wait();
    }
}

fn started(output: &mut impl BufRead, folder: &Path) -> Pid {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let pid = line.trim_end().strip_prefix("ready ");
    pid.and_then(|pid| Pid::from_raw(pid.parse().ok()?))
        .unwrap_or_else(|| panic!("PostgreSQL does not start: see {}", folder.display()))
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
start() {
    postgres -D "$folder/data" -k "$folder" -c listen_addresses= -c fsync=off \
        -c max_connections=200 >>"$folder/postgres.log" 2>&1 </dev/null &
    server=$!
    until pg_isready --quiet --host="$folder"; do
        kill -0 "$server"
        sleep 0.05
    done
    echo "ready $server"
}
start
while read -r _; do
    wait "$server" || true
    start
done
kill -CONT "$server" 2>/dev/null || true
kill -INT "$server" 2>/dev/null || true
wait "$server" || true
rm -rf "$folder"
"#;
