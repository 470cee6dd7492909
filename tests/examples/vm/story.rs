//! What happens to one machine, in order.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keyferry_tests::{Engine, Person, Program, Provider, Secret, Server, Stage};
use serde_json::Value;

use crate::machine::{Images, Machine, Setting, Writes, make_disk};
use crate::memory::{assert_only_in, search, secret_pages};
use crate::service::{
    main_pid, noticed, session_of, status, until_it_prints, until_live, until_noticed,
};
use crate::shell::Shell;
use crate::{seen, until};

/// Everything beside the machine.
struct Host<'a> {
    stage: &'a Stage,
    channel: PathBuf,
    brought: PathBuf,
    ada: &'a Person<'a>,
    provider: &'a Provider,
    keys: Keys,
    begin: Instant,
}

struct Keys {
    /// Tools may read it.
    raw: Secret,
    /// The proxy alone uses it.
    inject: Secret,
    /// Ordinary programs have it: what must be found.
    control: Secret,
}

pub(crate) async fn play(images: &Images) {
    let stage = Stage::new(Engine::Sqlite).await;
    make_disk(&images.images.join("swap.img"), 128);
    let mut server = serve(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let keys = Keys {
        raw: Secret::fresh(),
        inject: Secret::fresh(),
        control: Secret::fresh(),
    };
    let provider = Provider::start(&stage, &keys.inject).await;
    ada.put("openai", &keys.raw);
    ada.put_for_host(("vendor", "openai"), &provider.host_named(), &keys.inject);
    ada.run(&["vms", "add", "kali-1"], b"").success();
    let host = Host {
        stage: &stage,
        channel: stage.path("kali-1.channel"),
        brought: stage.path("brought"),
        ada: &ada,
        provider: &provider,
        keys,
        begin: Instant::now(),
    };
    bring(&stage, &provider);
    let mut wire = wire(&stage, &server);
    let state = stage.path("state");
    {
        let mut machine = Machine::start(&stage, images, &host.booting("kali-1"));
        host.enrols_by_itself(&mut machine).await;
        host.tools_use_keys(&mut machine);
        host.memory_while_held_and_after_revocation(&mut machine)
            .await;
        host.service_is_watched(&mut machine).await;
        host.ticket_as_a_credential(&mut machine).await;
        host.programs_are_told_apart(&mut machine).await;
        host.reboots(&mut machine).await;
        host.is_paused(&mut machine).await;
        machine.shell.run("sync");
        machine.save(&state);
    }
    let found = search(&state, &[&host.keys.raw]).hits();
    host.seen(&format!(
        "saved; the saved state holds the key {found} times, as SECURITY.md says"
    ));

    server.kill();
    wire.kill();
    host.restored_without_a_server(images, &state).await;
    server.start_again(&stage);
    let _wire = self::wire(&stage, &server);
    host.cloned(images, &state).await;
    host.disks(images);
}

impl Host<'_> {
    fn seen(&self, what: &str) {
        seen(self.begin, what);
    }

    fn booting<'s>(&'s self, name: &'s str) -> Setting<'s> {
        Setting {
            name,
            channel: &self.channel,
            brought: &self.brought,
            generation: "11111111-1111-4111-8111-111111111111",
            state: None,
            writes: Writes::Kept,
        }
    }

    async fn enrols_by_itself(&self, machine: &mut Machine) {
        self.seen("booted Debian with systemd; the test's shell answers");
        until_live(&mut machine.shell, &["openai", "vendor"]).await;
        let status = status(&mut machine.shell).unwrap();
        assert_eq!(status["protection"], "memfd_secret", "{status}");
        let degraded = |step: &Value| step["degraded"] == true;
        let steps = status["hardening"].as_array().unwrap();
        assert!(!steps.iter().any(degraded), "{status}");
        self.seen(
            "the agent enrolled through the host channel, and holds two keys in memfd_secret",
        );
        let swap = machine.shell.run("cat /proc/swaps");
        assert!(swap.contains("/dev/vdb"), "{swap}");
    }

    fn tools_use_keys(&self, machine: &mut Machine) {
        let shell = &mut machine.shell;
        shell.run("useradd --create-home --groups keyferry tool");
        let call = r#"curl -sS -H "Authorization: Bearer $OPENAI_API_KEY" --data "{}" "#;
        let call = format!(r#"{call} "$OPENAI_BASE_URL/chat/completions""#);
        shell.run("cat >/tmp/call <<'END'\nset -eu\nEND");
        shell.run(&format!("cat >>/tmp/call <<'END'\n{call}\nEND"));
        let answer = shell.run("runuser -u tool -- keyferry exec --key vendor -- sh /tmp/call");
        assert!(answer.contains("chat.completion"), "{answer}");
        let requests = self.provider.seen();
        let shown = format!("authorization: Bearer {}", self.keys.inject.text());
        assert!(
            requests.iter().any(|it| it.fields.contains(&shown)),
            "{requests:?}"
        );
        self.seen(
            "a tool of an ordinary user called an API through the proxy; it never had the key",
        );
        let refused = shell.attempt("runuser -u nobody -- keyferry read openai");
        assert!(refused.code != 0, "{}", refused.output);
        self.seen("a user outside of the group was refused");
    }

    async fn memory_while_held_and_after_revocation(&self, machine: &mut Machine) {
        let Keys {
            raw,
            inject,
            control,
        } = &self.keys;
        let pid = main_pid(&mut machine.shell);
        let pages = secret_pages(&mut machine.shell, &pid);
        plant(&mut machine.shell, control);
        let picture = machine.memory();
        assert!(
            search(&picture, &[control]).hits() > 0,
            "the control is not found"
        );
        for key in [raw, inject] {
            let found = search(&picture, &[key]);
            assert_eq!(found.hits(), 1, "{found}");
            assert_only_in(&pages, &found, 1);
        }
        self.seen(
            "memory while held: each key once, in a page of memfd_secret; the control is found",
        );

        machine.shell.run(RECLAIM);
        let tool = machine
            .shell
            .run("tool --key openai >/tmp/tool.events 2>&1 & echo $!");
        let tool = tool.trim().to_owned();
        until_it_prints(&mut machine.shell, "grep -c live /tmp/tool.events").await;
        let mut both = secret_pages(&mut machine.shell, &tool);
        both.extend(pages);
        let found = search(&machine.memory(), &[raw]);
        assert_only_in(&both, &found, 2);
        self.seen(
            "memory while a tool has the key mapped: twice, in secret pages of agent and tool",
        );

        for name in ["openai", "vendor"] {
            self.ada.revoke(name);
        }
        until_it_prints(&mut machine.shell, "grep -c revoked /tmp/tool.events").await;
        until("both keys are acknowledged as wiped", async || {
            let wiped = |item: &Value| item["outcome"] == "wiped";
            self.ada.held("kali-1").iter().all(wiped).then_some(())
        })
        .await;
        let found = search(&machine.memory(), &[raw, inject]);
        assert_eq!(found.hits(), 0, "{found}");
        self.seen("memory after the revocation: no key, nor eight bytes of one, anywhere");
    }

    async fn service_is_watched(&self, machine: &mut Machine) {
        self.ada.put("second", &self.keys.raw);
        until_live(&mut machine.shell, &["second"]).await;
        let shell = &mut machine.shell;
        let told = shell.run("systemctl show keyferry-agent -p Type -p WatchdogTimestampMonotonic");
        assert!(told.contains("Type=notify"), "{told}");
        assert!(!told.contains("WatchdogTimestampMonotonic=0\n"), "{told}");
        let before = main_pid(shell);
        shell.run(&format!("kill -STOP {before}"));
        until_it_prints(
            shell,
            "journalctl -u keyferry-agent --no-pager | grep -c 'Watchdog timeout'",
        )
        .await;
        until_live(shell, &["second"]).await;
        assert_ne!(main_pid(shell), before);
        self.seen("systemd's watchdog restarted an agent that hung; it enrolled and holds its key");
    }

    async fn ticket_as_a_credential(&self, machine: &mut Machine) {
        let shell = &mut machine.shell;
        let ticket = self.ada.ticket("kali-1");
        shell.run(&format!("echo {} | keyferry-agent-enrol", ticket.trim()));
        until_live(shell, &["second"]).await;
        let log = shell.run(SINCE_LAST_START);
        assert!(!log.contains("a ticket was given"), "{log}");
        let left = shell.attempt("ls /run/credstore/keyferry.ticket");
        assert!(left.code != 0, "{}", left.output);
        self.seen("a ticket given to systemd as a credential enrolled it too, and left no file");
    }

    async fn programs_are_told_apart(&self, machine: &mut Machine) {
        let shell = &mut machine.shell;
        shell.run("systemctl enable --now keyferry-programs.socket");
        shell.run(
            "printf '[policy]\\nprograms_socket = \"/run/keyferry-programs.sock\"\\n' \
             >>/etc/keyferry/agent.toml",
        );
        shell.run("systemctl restart keyferry-agent");
        until_live(shell, &["second"]).await;
        shell.run("cp /usr/bin/keyferry /tmp/another-program");
        let rule = |rule: &[&str]| {
            let policy = [&["keys", "policy", "second"], rule].concat();
            self.ada.run(&policy, b"").success();
        };
        rule(&["--tool", "exe=/usr/bin/keyferry"]);
        let reads =
            |program: &str| format!("runuser -u tool -- {program} read second 2>&1 >/dev/null");
        until("another program is refused", async || {
            let refused = shell.attempt(&reads("/tmp/another-program"));
            (refused.code != 0).then_some(())
        })
        .await;
        shell.run(&reads("/usr/bin/keyferry"));
        let said = shell.attempt(&reads("/tmp/another-program")).output;
        assert!(
            said.contains("the program is /tmp/another-program"),
            "{said}"
        );
        rule(&["--any-tool"]);
        self.seen("the packaged helper told programs apart: the one that was named had the key");
    }

    async fn reboots(&self, machine: &mut Machine) {
        let boot = machine.shell.until_it_answers();
        let begin = Instant::now();
        machine.shell.run("systemctl --no-block reboot");
        while machine.shell.until_it_answers() == boot {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        until_live(&mut machine.shell, &["second"]).await;
        let took = begin.elapsed().as_secs();
        self.seen(&format!(
            "rebooted: served again with no hands, {took} s later"
        ));
    }

    async fn is_paused(&self, machine: &mut Machine) {
        let noticed = noticed(&mut machine.shell);
        machine.pause();
        // Nothing but time shows a pause.
        tokio::time::sleep(Duration::from_secs(5)).await;
        machine.go_on();
        until_noticed(&mut machine.shell, noticed).await;
        until_live(&mut machine.shell, &["second"]).await;
        self.seen("paused for 5 s: the agent noticed, wiped, and shook hands anew");
    }

    /// With the generation id of before: only the host's clock tells.
    async fn restored_without_a_server(&self, images: &Images, state: &Path) {
        // Less than two seconds would not be noticed, and harm no more than a pause of that length.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let setting = Setting {
            state: Some(state),
            writes: Writes::Forgotten,
            ..self.booting("restored")
        };
        let mut machine = Machine::start(self.stage, images, &setting);
        until("the restored agent has no live key", async || {
            let status = status(&mut machine.shell)?;
            let live = status["keys"]
                .as_array()?
                .iter()
                .any(|key| key["state"] == "live");
            (!live).then_some(())
        })
        .await;
        let found = search(&machine.memory(), &[&self.keys.raw]);
        assert_eq!(found.hits(), 0, "{found}");
        self.seen(
            "restored, same generation id, no server: the agent wiped by itself; memory: none",
        );
    }

    async fn cloned(&self, images: &Images, state: &Path) {
        let setting = Setting {
            state: Some(state),
            generation: "22222222-2222-4222-8222-222222222222",
            ..self.booting("cloned")
        };
        let mut machine = Machine::start(self.stage, images, &setting);
        let shell = &mut machine.shell;
        until_noticed(shell, 1).await;
        until_live(shell, &["second"]).await;
        assert!(shell.run("dmesg").contains("virtual machine fork"));
        let log = shell.run("journalctl -u keyferry-agent -b -o cat --no-pager");
        let sessions: Vec<_> = log.lines().filter_map(session_of).collect();
        let mut distinct = sessions.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(
            sessions.len() >= 3 && sessions.len() == distinct.len(),
            "{log}"
        );
        self.seen(
            "cloned, new generation id: the agent wiped, asked its host, and has a new session",
        );
        // What came of it in swap is to be looked at as well.
        shell.run(RECLAIM);
        plant(shell, &self.keys.control);
        until_it_prints(shell, SWAP_CONTROL).await;
        shell.run("sync; systemctl --no-block poweroff");
        machine.until_it_is_off();
        let found = search(&machine.console(), &[&self.keys.raw, &self.keys.inject]);
        assert_eq!(found.hits(), 0, "{found}");
    }

    fn disks(&self, images: &Images) {
        let Keys {
            raw,
            inject,
            control,
        } = &self.keys;
        for name in ["disk.img", "swap.img"] {
            let path = images.images.join(name);
            let found = search(&path, &[raw, inject]);
            assert_eq!(found.hits(), 0, "{name}: {found}");
            let controls = search(&path, &[control]).hits();
            assert!(controls > 0, "the control is not found in {name}");
            self.seen(&format!(
                "{name}: 0 copies of any key; the control is found {controls} times"
            ));
        }
    }
}

/// On a port that is known beforehand, because tickets are to name it as machines see it.
fn serve(stage: &Stage) -> Server {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let public = format!("https://{HOST}:{port}");
    let listen = format!("127.0.0.1:{port}");
    Server::start_at(stage, &listen, &[("KEYFERRY_PUBLIC_URL", &public)])
}

fn wire(stage: &Stage, server: &Server) -> Program {
    let socket = stage.path("kali-1.channel");
    let port = server.url().rsplit(':').next().unwrap();
    let public = format!("https://{HOST}:{port}");
    let mut wire = server.run_beside(stage, "channel", |command| {
        command
            .args(["vm", "channel", "kali-1", "--socket"])
            .arg(&socket);
        command.args(["--public-url", &public]);
    });
    while !wire.next_line().starts_with("ready ") {}
    wire
}

/// What the operator of the machine would have set.
fn bring(stage: &Stage, provider: &Provider) {
    let folder = stage.path("brought/etc/keyferry");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(provider.authority(), folder.join("authority.pem")).unwrap();
    let settings = "[proxy]\nallow_private = [\"provider.test\"]\n\
        ca_file = \"/etc/keyferry/authority.pem\"\n[reconnect]\nlongest_ms = 1000\n";
    std::fs::write(folder.join("agent.toml"), settings).unwrap();
    let hosts = format!("127.0.0.1 localhost\n{HOST} provider.test\n");
    std::fs::write(stage.path("brought/etc/hosts"), hosts).unwrap();
}

/// The positive control of memory, disk and swap: a file on the disk, and one in memory that may be
/// swapped out.
fn plant(shell: &mut Shell, control: &Secret) {
    let text = control.text();
    shell.run(&format!(
        "mkdir -p /sys/fs/cgroup/control && sh -c 'echo $$ >/sys/fs/cgroup/control/cgroup.procs; \
         echo {text} >/dev/shm/control' && cp /dev/shm/control /root/control && sync"
    ));
}

/// As the machine sees it (QEMU's user network).
const HOST: &str = "10.0.2.2";
const RECLAIM: &str = "echo 24M >/sys/fs/cgroup/system.slice/memory.reclaim 2>/dev/null; true";
const SWAP_CONTROL: &str = "echo 1M 2>/dev/null >/sys/fs/cgroup/control/memory.reclaim; \
    cat /sys/fs/cgroup/control/memory.swap.current";
const SINCE_LAST_START: &str = "journalctl -o cat --no-pager \
    _SYSTEMD_INVOCATION_ID=$(systemctl show -p InvocationID --value keyferry-agent)";
