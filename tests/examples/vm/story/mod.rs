//! What happens to one machine, in order.

mod in_use;
mod interruptions;
mod searches;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use keyferry_tests::{Engine, Person, Program, Provider, Secret, Server, Stage};

use crate::machine::{Images, Machine, Setting, Writes, make_disk};
use crate::memory::search;
use crate::seen;

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

impl Keys {
    fn fresh() -> Self {
        Self {
            raw: Secret::fresh(),
            inject: Secret::fresh(),
            control: Secret::fresh(),
        }
    }
}

pub(crate) async fn play(images: &Images) {
    let stage = Stage::new(Engine::Sqlite).await;
    make_disk(&images.images.join("swap.img"), 128);
    let mut server = serve(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let keys = Keys::fresh();
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
    host.lives_until_it_is_saved(images, &state).await;

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

    async fn lives_until_it_is_saved(&self, images: &Images, state: &Path) {
        let mut machine = Machine::start(self.stage, images, &self.booting("kali-1"));
        self.enrols_by_itself(&mut machine).await;
        self.tools_use_keys(&mut machine);
        self.memory_while_held_and_after_revocation(&mut machine)
            .await;
        self.service_is_watched(&mut machine).await;
        self.ticket_as_a_credential(&mut machine).await;
        self.programs_are_told_apart(&mut machine).await;
        self.reboots(&mut machine).await;
        self.is_paused(&mut machine).await;
        machine.shell.run("sync");
        machine.save(state);
        drop(machine);
        let found = search(state, &[&self.keys.raw]).hits();
        self.seen(&format!(
            "saved; the saved state holds the key {found} times, as SECURITY.md says"
        ));
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

/// As the machine sees it (QEMU's user network).
const HOST: &str = "10.0.2.2";
