//! What an operator needs beside the product itself: certificates, metrics, health, logs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use keyferry_cli::rest::observed_pin;
use keyferry_tests::{
    Agent, Engine, Person, Program, Secret, Server, Stage, binary, free_port, until,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_while_agents_stay_connected() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (certificate, key) = self_signed(&stage);
    let settings = [
        ("KEYFERRY_TLS_CERT_FILE", certificate.to_str().unwrap()),
        ("KEYFERRY_TLS_KEY_FILE", key.to_str().unwrap()),
    ];
    let server = Server::start_with(&stage, &settings);
    let ada = Person::register(&stage, &server, "ada");
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let address = server.url().parse().unwrap();
    let first = observed_pin(&address).await.unwrap();
    assert_eq!(first.to_string(), server.fingerprint());

    // Found by its file alone.
    self_signed(&stage);
    let second = until("the new certificate is shown", async || {
        let shown = observed_pin(&address).await.ok()?;
        (shown != first).then_some(shown)
    })
    .await;
    until("the operator is told of the new key", async || {
        let log = server.log();
        log.contains("the TLS certificate has another key")
            .then_some(())
    })
    .await;

    std::fs::write(&certificate, "no certificate").unwrap();
    hang_up(&server);
    until("the operator is told", async || {
        server.log().contains("the old one stays").then_some(())
    })
    .await;
    assert_eq!(observed_pin(&address).await.unwrap(), second);
    assert_eq!(server.log().matches("agent session ended").count(), 0);
    agent.until_healthy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_without_a_certificate_are_refused_where_the_operator_wants_one() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (authority, own) = clients(&stage);
    for (who, path, without) in [
        ("everybody", "/plans", 403),
        ("everybody", "/health", 200),
        ("agents", "/plans", 200),
        ("agents", "/agent", 403),
    ] {
        let settings = [
            ("KEYFERRY_TLS_CLIENT_CA_FILE", authority.to_str().unwrap()),
            ("KEYFERRY_TLS_CLIENT_CERTIFICATES", who),
        ];
        let mut server = Server::start_with(&stage, &settings);
        let url = format!("{}{path}", server.url());
        assert_eq!(curl(&[&url]).0, without, "{who} {path}");
        let (certificate, key) = (own.with_extension("pem"), own.with_extension("key"));
        let shown = [
            "--cert",
            certificate.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
        ];
        let with = curl(&[&shown[..], &[&url]].concat()).0;
        // Without an upgrade the agents' route has something else to say, but not that.
        assert_eq!(
            with,
            if path == "/agent" { 400 } else { 200 },
            "{who} {path}"
        );
        assert!(server.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_for_who_may_read_them() {
    let stage = Stage::new(Engine::Sqlite).await;
    let closed = Server::start(&stage);
    assert_eq!(curl(&[&format!("{}/metrics", closed.url())]).0, 404);
    drop(closed);

    let own = format!("127.0.0.1:{}", free_port());
    let settings = [
        ("KEYFERRY_METRICS_LISTEN", own.as_str()),
        ("KEYFERRY_METRICS_TOKEN", "a-token-to-read-with"),
    ];
    let server = Server::start_with(&stage, &settings);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_it_has("openai").await;

    let right = "Authorization: Bearer a-token-to-read-with";
    for url in [
        format!("{}/metrics", server.url()),
        format!("http://{own}/metrics"),
    ] {
        assert_eq!(curl(&[&url]).0, 401, "{url}");
        assert_eq!(
            curl(&["-H", "Authorization: Bearer another", &url]).0,
            401,
            "{url}"
        );
        let (status, text) = curl(&["-H", right, &url]);
        assert_eq!(status, 200, "{url}");
        for line in [
            "keyferry_agents_connected 1",
            "keyferry_deliveries_total{told=\"Put\"} 1",
            "keyferry_up 1",
            "keyferry_database_statement_duration_seconds_bucket{le=\"0.1\"} ",
            "method=\"PUT\",route=\"/keys/{name}\",status=\"201\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_asks_its_server_how_it_is() {
    let stage = Stage::new(Engine::Sqlite).await;
    let mut server = Server::start_with(&stage, &[("KEYFERRY_LOG_FORMAT", "json")]);
    let listen = server.url().trim_start_matches("https://").to_owned();
    let ask = |server: &Server| {
        let mut asked = server.run_beside(&stage, "health", |command| {
            command.arg("health").env("KEYFERRY_LISTEN", &listen);
        });
        let said = asked.lines_to_the_end().join("\n");
        (asked.wait().success(), said)
    };
    assert_eq!(
        ask(&server),
        (
            true,
            "healthy (database connected, cache in_process)".to_owned()
        )
    );
    let mut asked = server.run_beside(&stage, "health", |command| {
        command.args(["health", "--listen", &listen]);
    });
    assert!(asked.wait().success(), "it takes the flag of `serve`");
    // A renewal that went wrong changes nothing of what is served.
    std::fs::write(stage.data_dir().join("tls-key.pem"), "no key").unwrap();
    assert!(ask(&server).0);
    server.kill();
    assert_eq!(ask(&server), (false, String::new()));
    for line in server.log().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert!(
            entry["level"].is_string() && entry["message"].is_string(),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_how_long_draining_may_take() {
    let stage = Stage::new(Engine::Sqlite).await;
    let place = stage.path("notify");
    let systemd = UnixDatagram::bind(&place).unwrap();
    systemd
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut server = Server::start_with(
        &stage,
        &[
            ("NOTIFY_SOCKET", place.to_str().unwrap()),
            ("KEYFERRY_DRAIN_SECONDS", "1"),
            ("KEYFERRY_STOP_SECONDS", "100"),
        ],
    );
    let told = || {
        let mut said = [0; 256];
        let length = systemd.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..length]).into_owned()
    };
    assert!(told().contains("READY=1"));
    assert!(server.terminate().success());
    let stopping = told();
    assert!(stopping.contains("STOPPING=1"), "{stopping}");
    let longest = stopping.split("EXTEND_TIMEOUT_USEC=").nth(1).unwrap();
    assert!(
        longest.trim().parse::<u64>().unwrap() > 101_000_000,
        "{stopping}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_container_file_runs_serves_without_containers_too() {
    let stage = Stage::new(Engine::Sqlite).await;
    // PostgreSQL has a user of its own, who must reach its folder.
    let open = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(stage.folder(), open).unwrap();
    let folder = stage.path("three");
    let listen = format!("127.0.0.1:{}", free_port());
    let mut first = None;
    for _ in 0..2 {
        let mut three = run_three(&stage, &folder, &listen);
        let ready = three.next_line();
        let words: Vec<&str> = ready.split(' ').collect();
        let [_ready, url, pin] = words[..] else {
            panic!("`{ready}` is no ready line")
        };
        let (status, health) = curl(&[&format!("{url}/health")]);
        assert_eq!(status, 200, "{health}");
        let health: Value = serde_json::from_str(&health).unwrap();
        until("Redis is connected", async || {
            let (_, health) = curl(&[&format!("{url}/health")]);
            let health: Value = serde_json::from_str(&health).unwrap();
            (health["cache"] == "connected").then_some(())
        })
        .await;
        assert_eq!(health["database"], "connected");
        match &first {
            None => {
                compose_takes_no_socket_for_an_answer(&folder.join("postgres"));
                let ada = Person::register_at(&stage, (url, pin), "ada");
                ada.put("openai", &Secret::fresh());
                let agent = Agent::enrol(&stage, &ada, "kali-1").await;
                agent.until_holding("openai", 1).await;
                first = Some((ada, agent));
            }
            Some((ada, agent)) => {
                agent.until_healthy().await;
                ada.rotate("openai", &Secret::fresh());
                agent.until_holding("openai", 2).await;
            }
        }
        assert!(three.terminate().success(), "{}", three.log());
        for process in ["postgres/.s.PGSQL.5432", "redis/socket"] {
            let left = UnixStream::connect(folder.join(process));
            assert!(left.is_err(), "{process} is still served");
        }
    }
}

fn run_three(stage: &Stage, folder: &Path, listen: &str) -> Program {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/run-three");
    Program::start(stage, "three", script, |command| {
        command.arg(folder).arg(listen);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("KEYFERRY_SERVER", binary("keyferry-server"));
        command.env("KEYFERRY_PUBLIC_URL", format!("https://{listen}"));
        command.env("AUTH_PASSWORD_HASH_ROUNDS", "10");
    })
}

/// The image of PostgreSQL has one that listens on its socket alone while it makes the database,
/// as this one does.
fn compose_takes_no_socket_for_an_answer(postgres: &Path) {
    let port = free_port().to_string();
    let socket = postgres.join(format!(".s.PGSQL.{port}"));
    symlink(".s.PGSQL.5432", &socket).unwrap();
    let answers = |question: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", question]);
        shell.env("PGHOST", postgres).env("PGPORT", &port);
        shell.status().unwrap().success()
    };
    assert!(answers("pg_isready --quiet"));
    let compose = concat!(env!("CARGO_MANIFEST_DIR"), "/../docker-compose.yml");
    let compose = std::fs::read_to_string(compose).unwrap();
    let mut quoted = compose.split('"');
    let question = quoted.find(|text| text.starts_with("pg_isready "));
    assert!(!answers(question.unwrap()));
}

/// The status and the body.
fn curl(arguments: &[&str]) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--insecure",
        "--max-time",
        "20",
        "--write-out",
        "\n%{http_code}",
    ]);
    let output = command.args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

fn hang_up(server: &Server) {
    let server = Pid::from_raw(server.pid()).unwrap();
    kill_process(server, Signal::HUP).unwrap();
}

/// Makes a new key and a certificate for it, always at the same place.
fn self_signed(stage: &Stage) -> (PathBuf, PathBuf) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (certificate, key) = (stage.path("own.pem"), stage.path("own.key"));
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    (certificate, key)
}

/// An authority, and a client's certificate and key without their extensions.
fn clients(stage: &Stage) -> (PathBuf, PathBuf) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = stage.path("clients.pem");
    std::fs::write(&authority, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["client".to_owned()]).unwrap();
    let own = stage.path("client");
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    std::fs::write(own.with_extension("pem"), certificate).unwrap();
    std::fs::write(own.with_extension("key"), key.serialize_pem()).unwrap();
    (authority, own)
}
