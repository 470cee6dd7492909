//! Each step is taken in a child, which then tries what the step forbids. The child is this test
//! program again, told by its environment which attempt to make.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

/// Not a test of its own: the children run it.
#[test]
fn child() {
    if let Some(attempt) = std::env::var_os("KEYFERRY_TEST_ATTEMPT") {
        std::process::exit(attempts::run(attempt.to_str().unwrap()));
    }
}

fn attempt(name: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "harden::tests::child",
            "--exact",
            "--test-threads=1",
            "--nocapture",
        ])
        .env("KEYFERRY_TEST_ATTEMPT", name)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap()
}

#[test]
fn without_the_steps_every_attempt_succeeds() {
    for name in [
        "raise_core_limit",
        "be_read",
        "write",
        "execute",
        "change_owner",
    ] {
        assert_eq!(
            attempt(&format!("unhardened:{name}")).code(),
            Some(attempts::DONE),
            "{name}"
        );
    }
}

#[test]
fn the_core_limit_stays_at_zero() {
    assert_eq!(attempt("raise_core_limit").code(), Some(attempts::REFUSED));
}

#[test]
fn a_sibling_of_the_same_user_cannot_read_the_memory() {
    assert_eq!(attempt("be_read").code(), Some(attempts::REFUSED));
}

#[test]
fn a_crash_leaves_no_core() {
    let status = attempt("crash");
    assert_eq!(status.signal(), Some(libc::SIGABRT));
    assert!(!status.core_dumped());
}

#[test]
fn no_new_privileges_are_gained() {
    assert_eq!(attempt("no_new_privileges").code(), Some(attempts::DONE));
}

#[test]
fn no_file_can_be_written_made_or_removed() {
    assert_eq!(attempt("write").code(), Some(attempts::REFUSED));
}

#[test]
fn no_program_can_be_started() {
    assert_eq!(attempt("execute").code(), Some(attempts::REFUSED));
}

#[test]
fn no_capability_is_left() {
    assert_eq!(attempt("no_capability").code(), Some(attempts::DONE));
    assert_eq!(attempt("change_owner").code(), Some(attempts::REFUSED));
}

#[test]
fn a_call_that_is_not_on_the_list_kills() {
    for call in ["chdir", "kill"] {
        assert_eq!(
            attempt(&format!("call:{call}")).signal(),
            Some(libc::SIGSYS),
            "{call}"
        );
    }
}

#[test]
fn a_socket_that_is_neither_local_nor_tcp_nor_for_names_kills() {
    for (name, ..) in attempts::FOREIGN_SOCKETS {
        assert_eq!(
            attempt(&format!("call:{name}")).signal(),
            Some(libc::SIGSYS),
            "{name}"
        );
    }
}

#[test]
fn everything_that_the_agent_does_still_works_behind_the_filter() {
    assert_eq!(attempt("work").code(), Some(attempts::DONE));
}

#[test]
fn the_steps_are_reported_in_the_order_they_are_taken() {
    assert_eq!(attempt("report").code(), Some(attempts::DONE));
}

/// What the children do.
mod attempts {
    use std::fs;
    use std::io::Read;
    use std::net::ToSocketAddrs;
    use std::path::Path;

    use keyferry_protocol::memory::{Arena, PageState, SecretPage};
    use rustix::net::{
        AddressFamily, Protocol, SocketFlags, SocketType, ipproto, netlink, socket_with,
    };
    use rustix::process::{Resource, Rlimit, setrlimit};

    use super::super::*;

    pub(super) const DONE: i32 = 10;
    pub(super) const REFUSED: i32 = 11;

    pub(super) fn run(name: &str) -> i32 {
        if let Some(name) = name.strip_prefix("unhardened:") {
            return outcome(plain(name));
        }
        if let Some(call) = name.strip_prefix("call:") {
            hardened();
            forbidden(call);
            return DONE;
        }
        let steps = match name {
            "raise_core_limit" => vec![dumps::no_core_files().unwrap()],
            "be_read" => vec![dumps::not_dumpable().unwrap()],
            "crash" => vec![
                dumps::no_core_files().unwrap(),
                dumps::not_dumpable().unwrap(),
            ],
            "write" | "execute" => {
                privileges::no_new_privileges().unwrap();
                vec![files::write_nothing(Tolerance::Strict).unwrap()]
            }
            "change_owner" | "no_capability" => vec![privileges::drop_capabilities().unwrap()],
            "no_new_privileges" => vec![privileges::no_new_privileges().unwrap()],
            _ => hardened(),
        };
        match name {
            "crash" => std::process::abort(),
            "work" => outcome(work()),
            "report" => outcome(names_are_in_order(&steps)),
            "no_capability" => outcome(status_lines(&["CapEff", "CapPrm", "CapInh", "CapAmb"], 0)),
            "no_new_privileges" => outcome(status_lines(&["NoNewPrivs"], 1)),
            _ => outcome(plain(name)),
        }
    }

    fn outcome(did: bool) -> i32 {
        if did { DONE } else { REFUSED }
    }

    fn hardened() -> Vec<Step> {
        let (_level, mut steps) = before_secrets(Tolerance::Strict).unwrap();
        steps.extend(before_strangers(Tolerance::Strict).unwrap());
        steps
    }

    /// The attempts themselves, the same with and without the step.
    fn plain(name: &str) -> bool {
        let folder = std::env::temp_dir().join(format!("keyferry-harden-{}", std::process::id()));
        match name {
            "raise_core_limit" => {
                let one = Rlimit {
                    current: Some(1),
                    maximum: Some(1),
                };
                // Root may raise any limit until its capabilities are gone.
                privileges::drop_capabilities().unwrap();
                setrlimit(Resource::Core, one).is_ok()
            }
            "be_read" => read_by_a_sibling(),
            "write" => fs::create_dir(&folder).is_ok_and(|()| fs::remove_dir(&folder).is_ok()),
            "execute" => std::process::Command::new("/bin/true").status().is_ok(),
            "change_owner" => {
                fs::write(&folder, "").unwrap();
                let changed = std::os::unix::fs::chown(&folder, Some(1), None);
                fs::remove_file(&folder).unwrap();
                // An ordinary user may not give files away even with all that it has.
                changed.is_ok() || (!rustix::process::getuid().is_root() && !no_capability())
            }
            other => panic!("no attempt is called {other}"),
        }
    }

    /// A sibling with our user id and our capabilities, which are none, reads our memory.
    fn read_by_a_sibling() -> bool {
        privileges::drop_capabilities().unwrap();
        let sibling = std::process::Command::new("cat")
            .arg(format!(
                "/proc/{}/environ",
                rustix::thread::gettid().as_raw_nonzero()
            ))
            .stderr(std::process::Stdio::null())
            .output()
            .unwrap();
        sibling.status.success() && !sibling.stdout.is_empty()
    }

    fn no_capability() -> bool {
        status_lines(&["CapEff"], 0)
    }

    fn status_lines(names: &[&str], wanted: u64) -> bool {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        names.iter().all(|name| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            let value = line.split_whitespace().nth(1).unwrap();
            u64::from_str_radix(value, 16).unwrap() == wanted
        })
    }

    fn names_are_in_order(steps: &[Step]) -> bool {
        let names: Vec<_> = steps.iter().map(|step| step.step).collect();
        names
            == [
                "no_core_files",
                "not_dumpable",
                "no_new_privileges",
                "locked_memory",
                "no_file_writes",
                "no_capabilities",
                "system_calls",
            ]
    }

    fn forbidden(call: &str) {
        match call {
            "chdir" => drop(std::env::set_current_dir("/")),
            "kill" => drop(rustix::process::test_kill_process(rustix::process::getpid())),
            name => foreign_socket(name),
        }
    }

    /// What is killed for it is the question, whether or not the kernel would grant it.
    fn foreign_socket(name: &str) {
        let mut all = FOREIGN_SOCKETS.iter();
        let socket = all.find(|(known, ..)| *known == name);
        let (_, family, kind, protocol) = *socket.expect("a call or socket of this name");
        drop(rustix::net::socket(family, kind, protocol));
    }

    pub(super) const FOREIGN_SOCKETS: &[(&str, AddressFamily, SocketType, Option<Protocol>)] = &[
        ("packets", AddressFamily::PACKET, SocketType::RAW, None),
        (
            "raw_ip",
            AddressFamily::INET,
            SocketType::RAW,
            Some(ipproto::RAW),
        ),
        (
            "raw_tcp",
            AddressFamily::INET,
            SocketType::RAW,
            Some(ipproto::TCP),
        ),
        (
            "raw_ip6",
            AddressFamily::INET6,
            SocketType::RAW,
            Some(ipproto::RAW),
        ),
        (
            "ping",
            AddressFamily::INET,
            SocketType::DGRAM,
            Some(ipproto::ICMP),
        ),
        (
            "sctp",
            AddressFamily::INET,
            SocketType::STREAM,
            Some(ipproto::SCTP),
        ),
        (
            "uevents",
            AddressFamily::NETLINK,
            SocketType::RAW,
            Some(netlink::KOBJECT_UEVENT),
        ),
        (
            "netfilter",
            AddressFamily::NETLINK,
            SocketType::RAW,
            Some(netlink::NETFILTER),
        ),
        (
            "local_sequence",
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            None,
        ),
        (
            "virtual_sockets",
            AddressFamily::VSOCK,
            SocketType::STREAM,
            None,
        ),
    ];

    /// Locked memory, files, threads, sockets, timers, name resolution, a caught panic.
    fn work() -> bool {
        let level = self_level();
        let arena = Arena::new(level).unwrap();
        let secret = arena.hold(&[7; 40_000]).unwrap();
        let mut page = SecretPage::new(level).unwrap();
        page.publish(1, secret.expose().get(..100).unwrap());
        page.zero(PageState::Revoked);
        drop((secret, page, arena));
        let mut text = String::new();
        fs::File::open(Path::new("/etc/hosts"))
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let resolved = ("localhost", 1)
            .to_socket_addrs()
            .is_ok_and(|mut all| all.next().is_some());
        let _unknown = ("keyferry.invalid", 1).to_socket_addrs();
        sockets_are_made();
        let panicked = std::thread::spawn(|| panic!("a panic prints and unwinds"))
            .join()
            .is_err();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(runtime_works());
        resolved && panicked
    }

    /// Of every kind that name resolution, the proxy and the service manager need.
    fn sockets_are_made() {
        let (tcp, udp) = (SocketType::STREAM, SocketType::DGRAM);
        for (family, kind, protocol) in [
            (AddressFamily::UNIX, tcp, None),
            (AddressFamily::UNIX, udp, None),
            (AddressFamily::INET, tcp, None),
            (AddressFamily::INET, tcp, Some(ipproto::TCP)),
            (AddressFamily::INET6, udp, None),
            (AddressFamily::INET6, udp, Some(ipproto::UDP)),
            (AddressFamily::NETLINK, SocketType::RAW, None),
            (
                AddressFamily::NETLINK,
                SocketType::RAW,
                Some(netlink::SOCK_DIAG),
            ),
        ] {
            // A kernel without IPv6 refuses it, and kills nobody for it.
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            drop(socket_with(family, kind, flags, protocol));
        }
    }

    async fn runtime_works() {
        let _terminated =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        tokio::time::timeout(
            std::time::Duration::from_millis(5),
            std::future::pending::<()>(),
        )
        .await
        .unwrap_err();
        let _looked_up = tokio::net::lookup_host("localhost:1")
            .await
            .unwrap()
            .count();
        let refused = tokio::net::TcpStream::connect("127.0.0.1:1").await;
        assert!(refused.is_err());
    }

    /// The level that was proven before the filter, which forbids to prove it again.
    fn self_level() -> ProtectionLevel {
        let best = ProtectionLevel::MemfdSecret;
        SecretPage::new(best).map_or(ProtectionLevel::Mlock, |_page| best)
    }
}
