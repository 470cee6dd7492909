//! The shell process that owns a PostgreSQL. It waits for the end of its input, which comes when
//! the test process is gone for whatever reason, then stops PostgreSQL and removes its folder.

use std::fs::{Permissions, set_permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{Connection, PgConnection};
use tokio::sync::OnceCell;

use super::{OWNER, Room, SERVER};
use crate::{Authority, binary, free_port};

/// PostgreSQL, its folder, and the shell that owns it.
pub(super) struct Cluster {
    pub(super) folder: PathBuf,
    /// Names the socket; nothing listens at it in the network unless [`Cluster::listen`] is called.
    pub(super) port: u16,
    owner: Mutex<Owner>,
    template: OnceCell<()>,
}

/// The shell. The end of its input, which comes with our own end, tells it to clean up.
struct Owner {
    shell: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    postmaster: Pid,
}

impl Cluster {
    pub(super) fn start(room: Room) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("keyferry-pg-")
            .tempdir()
            .unwrap()
            .keep();
        let port = free_port();
        let mut shell = owner_command(&folder, room, port)
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
        Self {
            folder,
            port,
            owner,
            template: OnceCell::new(),
        }
    }

    pub(super) fn start_again(&self) {
        let mut owner = self.owner.lock().unwrap();
        owner.input.as_mut().unwrap().write_all(b"start\n").unwrap();
        owner.postmaster = started(&mut owner.output, &self.folder);
    }

    /// Has the shell do something, and waits until it is done.
    pub(super) fn order(&self, what: &str) {
        let mut owner = self.owner.lock().unwrap();
        let input = owner.input.as_mut().unwrap();
        input.write_all(format!("{what}\n").as_bytes()).unwrap();
        let mut done = String::new();
        owner.output.read_line(&mut done).unwrap();
        assert_eq!(done.trim_end(), what);
    }

    pub(super) fn has_ended(&self) -> bool {
        let pid = self.owner.lock().unwrap().postmaster.as_raw_nonzero();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    }

    /// Children first: a dead parent has none to be found.
    pub(super) fn signal(&self, signal: Signal) {
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

    pub(super) fn url(&self, database: &str, role: &str) -> String {
        let folder = self.folder.display();
        let port = self.port;
        format!("postgres:///{database}?host={folder}&port={port}&user={role}")
    }

    /// Has it listen at its port of 127.0.0.1 as well, from its next start on, for whoever speaks TLS:
    /// for servers, and for the owner where a certificate of this authority says so.
    pub(super) async fn listen(&self, authority: &Authority) {
        let (certificate, key) = authority.certify(&["127.0.0.1"]);
        let rules = format!(
            "local all all trust\n\
             hostssl all {SERVER} 127.0.0.1/32 trust\n\
             hostssl all {OWNER} 127.0.0.1/32 cert\n"
        );
        for (setting, name, contents) in [
            ("ssl_ca_file", "authority.pem", authority.pem()),
            ("ssl_cert_file", "certificate.pem", &certificate.pem()),
            ("ssl_key_file", "key.pem", &key.serialize_pem()),
            ("hba_file", "rules.conf", &rules),
        ] {
            let file = self.folder.join(name);
            self.lend(&file, contents);
            self.set(setting, &file.display().to_string()).await;
        }
        self.set("ssl", "on").await;
        self.set("listen_addresses", "127.0.0.1").await;
    }

    /// A file that PostgreSQL's user alone can read.
    fn lend(&self, file: &Path, contents: &str) {
        std::fs::write(file, contents).unwrap();
        set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        let folder = std::fs::metadata(&self.folder).unwrap();
        chown(file, Some(folder.uid()), Some(folder.gid())).unwrap();
    }

    /// From the next start on.
    async fn set(&self, setting: &str, value: &str) {
        let statement = format!("ALTER SYSTEM SET {setting} = '{value}'");
        self.execute(&statement).await;
    }

    /// One statement of the owner, outside of the stories' databases.
    pub(super) async fn execute(&self, statement: &str) {
        let url = self.url("postgres", OWNER);
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let statement = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()));
        statement.execute(&mut connection).await.unwrap();
    }

    /// The database of which others are copies: it has the schema, made as an owner makes it for
    /// servers that own nothing.
    pub(super) async fn template(&self) -> &'static str {
        self.template.get_or_init(|| self.make_template()).await;
        TEMPLATE
    }

    async fn make_template(&self) {
        self.execute(&format!("CREATE ROLE {SERVER} LOGIN")).await;
        self.execute(&format!("CREATE DATABASE {TEMPLATE}")).await;
        let migrated = Command::new(binary("keyferry-server"))
            .args(["migrate", "--grant-to", SERVER])
            .current_dir(&self.folder)
            .env_clear()
            .env("KEYFERRY_DATA_DIR", self.folder.join("none"))
            .env("DATABASE_URL", self.url(TEMPLATE, OWNER))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&migrated.stderr);
        assert!(migrated.status.success(), "{errors}");
    }
}

impl Drop for Cluster {
    /// What was a disk of its own leaves its empty place.
    fn drop(&mut self) {
        let owner = self.owner.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(owner.input.take());
        let _ = owner.shell.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
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
fn owner_command(folder: &Path, room: Room, port: u16) -> Command {
    let lent = geteuid().is_root().then(postgres_user);
    let mut command = Command::new("env");
    let (data, segment, megabytes) = match room {
        Room::Plenty => ("data", "16", None),
        Room::Small(megabytes) => ("room/data", "1", Some(megabytes)),
        Room::SmallBeside(megabytes) => ("data", "16", Some(megabytes)),
    };
    if let Some(megabytes) = megabytes {
        std::fs::create_dir(folder.join("room")).unwrap();
        furnish(&mut command, (folder, megabytes), lent);
    }
    if let Some((user, group)) = lent {
        chown(folder, Some(user), Some(group)).unwrap();
        command
            .arg("setpriv")
            .arg(format!("--reuid={user}"))
            .arg(format!("--regid={group}"))
            .arg("--clear-groups");
    }
    command
        .args(["sh", "-c", KEEPER, "keyferry-postgres"])
        .arg(folder)
        .arg(programs_folder())
        .arg(folder.join(data))
        .arg(segment)
        .arg(port.to_string());
    command
}

/// A small disk in a mount namespace of its own. Who is root only there must be somebody else
/// again for PostgreSQL.
fn furnish(command: &mut Command, (folder, megabytes): (&Path, u32), lent: Option<(u32, u32)>) {
    let (user, group) = lent.unwrap_or_default();
    command.args(["unshare", "--mount"]);
    if lent.is_none() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["sh", "-c", ROOM, "keyferry-room"])
        .arg(format!("size={megabytes}m,uid={user},gid={group},mode=700"))
        .arg(folder.join("room"));
    if lent.is_none() {
        command.args(["unshare", "--user", "--map-user=1000", "--map-group=1000"]);
    }
}

pub(crate) fn postgres_user() -> (u32, u32) {
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

const ROOM: &str = r#"
set -eu
mount -t tmpfs -o "$1" none "$2"
shift 2
exec "$@"
"#;

const TEMPLATE: &str = "furnished";

const KEEPER: &str = r#"
set -eu
trap '' INT
folder=$1
PATH=$2:$PATH
data=$3
port=$5
initdb --pgdata="$data" --username=keyferry --auth=trust --encoding=UTF8 --no-sync \
    --wal-segsize="$4" >"$folder/initdb.log" 2>&1
echo "listen_addresses = ''" >>"$data/postgresql.conf"
start() {
    postgres -D "$data" -k "$folder" -p "$port" -c fsync=off \
        -c max_connections=200 >>"$folder/postgres.log" 2>&1 </dev/null &
    server=$!
    until pg_isready --quiet --host="$folder" --port="$port"; do
        kill -0 "$server"
        sleep 0.05
    done
    echo "ready $server"
}
start
while read -r order; do
    case $order in
        start)
            wait "$server" || true
            start
            continue
            ;;
        tables) mkdir "$folder/room/tables" ;;
        fill) dd if=/dev/zero of="$folder/room/ballast" bs=4k 2>/dev/null || true ;;
        empty) rm "$folder/room/ballast" ;;
    esac
    echo "$order"
done
kill -CONT "$server" 2>/dev/null || true
kill -INT "$server" 2>/dev/null || true
wait "$server" || true
rm -rf "$folder" 2>/dev/null || true
"#;
