//! QEMU, and what it boots.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keyferry_tests::{Program, Stage};
use serde_json::{Value, json};

use crate::qmp::Qmp;
use crate::shell::Shell;

/// What `tests/vm/run` has made.
pub(crate) struct Images {
    /// QEMU.
    pub(crate) cache: PathBuf,
    /// Kernel, initramfs and disk.
    pub(crate) images: PathBuf,
}

/// How one machine differs from another.
pub(crate) struct Setting<'a> {
    pub(crate) name: &'a str,
    /// Where `keyferry-server vm channel` listens.
    pub(crate) channel: &'a Path,
    /// A folder whose content is unpacked in the machine before the agent starts.
    pub(crate) brought: &'a Path,
    /// The VM generation id.
    pub(crate) generation: &'a str,
    /// The saved state to start from, instead of booting.
    pub(crate) state: Option<&'a Path>,
    /// What becomes of what it writes to its disks.
    pub(crate) writes: Writes,
}

/// What becomes of what a machine writes to its disks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    Kept,
    Forgotten,
}

/// A running machine.
pub(crate) struct Machine {
    folder: PathBuf,
    qmp: Qmp,
    pub(crate) shell: Shell,
    qemu: Program,
}

impl Machine {
    /// Starts it, and waits until its shell answers.
    pub(crate) fn start(stage: &Stage, images: &Images, setting: &Setting<'_>) -> Self {
        let folder = stage.path(setting.name);
        std::fs::create_dir_all(&folder).unwrap();
        let qemu = images.cache.join("qemu-system-x86_64");
        let log = format!("{}-qemu", setting.name);
        let program = Program::start(stage, &log, qemu, |command| {
            of_this_kind(command, &folder);
            with_disks(command, images, setting);
            with_ports(command, &folder, setting);
            if let Some(state) = setting.state {
                command.args(["-S", "-incoming"]);
                command.arg(format!("exec:cat {}", state.display()));
            }
        });
        let qmp = Qmp::greet(connect(&folder.join("qmp")));
        let shell = Shell::over(connect(&folder.join("shell")));
        let mut machine = Self {
            folder,
            qmp,
            shell,
            qemu: program,
        };
        if setting.state.is_some() {
            machine.until_status("paused");
            machine.go_on();
        }
        machine.shell.until_it_answers();
        machine
    }

    /// Stands still from now on.
    pub(crate) fn pause(&mut self) {
        self.command("stop");
    }

    /// Runs on.
    pub(crate) fn go_on(&mut self) {
        self.command("cont");
    }

    /// A picture of its whole memory: it stands still for as long as
    /// the copy takes, which is too short to be noticed.
    pub(crate) fn memory(&mut self) -> PathBuf {
        let picture = self.folder.join("picture");
        self.pause();
        std::fs::copy(self.folder.join("memory"), &picture).unwrap();
        self.go_on();
        picture
    }

    /// What it has printed on its console.
    pub(crate) fn console(&self) -> PathBuf {
        self.folder.join("console")
    }

    /// Waits until it has switched itself off.
    pub(crate) fn until_it_is_off(&mut self) {
        assert!(self.qemu.wait().success());
    }

    /// Saves its state, after which it stands still.
    pub(crate) fn save(&mut self, state: &Path) {
        let fast = json!({"max-bandwidth": 10_u64 << 30});
        self.qmp.execute("migrate-set-parameters", &fast);
        let to = json!({"uri": format!("exec:cat > {}", state.display())});
        self.qmp.execute("migrate", &to);
        let begin = Instant::now();
        loop {
            let state = self.qmp.execute("query-migrate", &json!({}));
            match state.get("status").and_then(Value::as_str) {
                Some("completed") => return,
                Some("failed") => panic!("{state}"),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
            assert!(begin.elapsed() < crate::PATIENCE, "{state}");
        }
    }

    fn until_status(&mut self, wanted: &str) {
        let begin = Instant::now();
        loop {
            let state = self.qmp.execute("query-status", &json!({}));
            if state.get("status").and_then(Value::as_str) == Some(wanted) {
                return;
            }
            assert!(begin.elapsed() < crate::PATIENCE, "{state}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn command(&mut self, name: &str) {
        self.qmp.execute(name, &json!({}));
    }
}

impl Drop for Machine {
    /// What is to be known of a machine in which something did not hold.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shell.tell(
                "systemctl --failed --no-pager; keyferry-agent status; \
                 journalctl -u keyferry-agent -b --no-pager | tail -n 40",
            );
        }
    }
}

fn of_this_kind(command: &mut Command, folder: &Path) {
    let memory = folder.join("memory");
    let memory = format!(
        "memory-backend-file,id=memory,size={MEGABYTES}M,share=on,mem-path={}",
        memory.display()
    );
    command
        .args(["-machine", "q35,accel=tcg,memory-backend=memory"])
        .args(["-object", &memory])
        .args(["-m", &format!("{MEGABYTES}M"), "-smp", "1", "-cpu", "max"])
        .args(["-nodefaults", "-display", "none"])
        .args(["-rtc", "base=utc,clock=host"])
        .args(["-object", "rng-random,id=random,filename=/dev/urandom"])
        .args(["-device", "virtio-rng-pci,rng=random"])
        .args(["-netdev", "user,id=net"])
        .args(["-device", "virtio-net-pci,netdev=net,romfile="]);
}

fn with_disks(command: &mut Command, images: &Images, setting: &Setting<'_>) {
    let file = |name: &str| images.images.join(name);
    command
        .arg("-kernel")
        .arg(file("kernel"))
        .arg("-initrd")
        .arg(file("initramfs.gz"));
    command.args(["-append", KERNEL_LINE]);
    if setting.writes == Writes::Forgotten {
        command.arg("-snapshot");
    }
    let brought = setting.brought.with_extension("tar");
    let tar = Command::new("tar")
        .arg("-C")
        .arg(setting.brought)
        .arg("-cf")
        .arg(&brought)
        .arg(".")
        .status();
    assert!(tar.is_ok_and(|status| status.success()));
    for (id, path) in [file("disk.img"), file("swap.img"), brought]
        .iter()
        .enumerate()
    {
        let drive = format!("file={},if=none,id=disk{id},format=raw", path.display());
        let device = format!("virtio-blk-pci,drive=disk{id}");
        command.args(["-drive", &drive, "-device", &device]);
    }
}

fn with_ports(command: &mut Command, folder: &Path, setting: &Setting<'_>) {
    let place = |name: &str| folder.join(name).display().to_string();
    let channel = setting.channel.display();
    command
        .args(["-qmp", &format!("unix:{},server=on,wait=off", place("qmp"))])
        .args(["-serial", &format!("file:{}", place("console"))])
        .args(["-device", &format!("vmgenid,guid={}", setting.generation)])
        .args(["-device", "virtio-serial-pci"])
        .arg("-chardev")
        .arg(format!(
            "socket,id=shell,path={},server=on,wait=off",
            place("shell")
        ))
        .args(["-device", "virtserialport,chardev=shell,name=test.shell"])
        // As `keyferry-server vm channel` prints it.
        .arg("-chardev")
        .arg(format!("socket,id=keyferry,path={channel},reconnect=2"))
        .args([
            "-device",
            "virtserialport,chardev=keyferry,name=org.keyferry.0",
        ]);
}

fn connect(path: &Path) -> UnixStream {
    let begin = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(error) => assert!(
                begin.elapsed() < crate::PATIENCE,
                "{}: {error}",
                path.display()
            ),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An empty file of this many megabytes.
pub(crate) fn make_disk(path: &Path, megabytes: u64) {
    let file = File::create(path).unwrap();
    file.set_len(megabytes << 20).unwrap();
}

const MEGABYTES: u32 = 384;
const KERNEL_LINE: &str = "console=ttyS0 quiet panic=-1 no_timer_check tsc=reliable net.ifnames=0 \
    systemd.show_status=0 init_on_free=1";
