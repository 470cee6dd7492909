//! A server whose data folder is a small disk of its own, which can be filled and emptied.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::geteuid;

use crate::program::binary;
use crate::{Server, Stage};

/// The disk.
pub struct SmallRoom {
    orders: PathBuf,
    reports: PathBuf,
}

impl SmallRoom {
    /// Starts a server on a fresh disk of so many megabytes, in namespaces of its own.
    pub fn start(stage: &Stage, megabytes: u32) -> (Server, Self) {
        let room = Self {
            orders: stage.path("orders"),
            reports: stage.path("reports"),
        };
        for path in [&room.orders, &room.reports] {
            rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
        }
        std::fs::create_dir_all(stage.data_dir()).unwrap();
        let server = Server::start_wrapped(stage, |command| {
            room.wrap(command, (stage.data_dir().as_path(), megabytes));
        });
        (server, room)
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        self.order("fill");
    }

    /// Makes room again.
    pub fn empty(&self) {
        self.order("empty");
    }

    fn wrap(&self, command: &mut Command, (folder, megabytes): (&Path, u32)) {
        if !geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--pid", "--fork", "--kill-child"]);
        command.args(["sh", "-c", ROOM, "keyferry-room"]);
        command.arg(folder).arg(format!("size={megabytes}m"));
        command.args([&self.orders, &self.reports]);
        command.arg(binary("keyferry-server"));
    }

    fn order(&self, what: &str) {
        let mut orders = std::fs::File::options()
            .write(true)
            .open(&self.orders)
            .unwrap();
        writeln!(orders, "{what}").unwrap();
        drop(orders);
        let report = std::fs::read_to_string(&self.reports).unwrap();
        assert_eq!(report.trim(), what);
    }
}

const ROOM: &str = r#"
set -eu
folder=$1 size=$2 orders=$3 reports=$4
shift 4
mount -t tmpfs -o "$size" none "$folder"
while :; do
    read -r order <"$orders"
    case $order in
        fill) dd if=/dev/zero of="$folder/ballast" bs=4k 2>/dev/null || true ;;
        empty) rm "$folder/ballast" ;;
    esac
    echo "$order" >"$reports"
done </dev/null >/dev/null &
exec "$@"
"#;
