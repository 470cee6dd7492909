//! A key is where it should be, and nowhere else: whole processes are searched, registers too,
//! for every encoding and every fragment of eight bytes.
//!
//! Searching a process that hides its memory needs root. With `memfd_secret` the pages that hold
//! the keys cannot be read even then; with `mlock` they can, and only they may hold anything.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use hyper::Method;
use keyferry_protocol::memory::{ProtectionLevel, self_test};
use keyferry_tests::{
    Agent, Engine, PASSWORD, Person, Program, Provider, Secret, Server, Speaks, Stage, Tool,
    binary, example, until,
};
use memscan::{GUARDED, Report, scan_process};
use secrecy::SecretString;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_keys_are_in_secret_pages_only_and_revoked_keys_are_nowhere() {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let keys: Vec<Secret> = (0..5).map(|_| Secret::fresh()).collect();
    for (number, key) in keys.iter().enumerate() {
        ada.put(&format!("key-{number}"), key);
    }
    for number in 0..5 {
        agent.until_holding(&format!("key-{number}"), 1).await;
    }
    let mut tool = Tool::open_to_stay(&stage, &agent, "key-0").await;
    assert_eq!(tool.next_event()["sha256"], keys[0].sha256());
    let all: Vec<&Secret> = keys.iter().collect();
    let guarded = agent.status().await.protection != "memfd_secret";
    assert_no_stray_copy(agent.pid(), &all, guarded);
    assert_no_stray_copy(tool.pid(), &all, guarded);

    let rotated = Secret::fresh();
    ada.rotate("key-0", &rotated);
    assert_eq!(tool.next_event()["sha256"], rotated.sha256());
    let all: Vec<&Secret> = keys.iter().chain([&rotated]).collect();
    assert_no_stray_copy(agent.pid(), &all, guarded);
    assert_no_stray_copy(tool.pid(), &all, guarded);

    for number in 0..5 {
        ada.revoke(&format!("key-{number}"));
    }
    assert_eq!(tool.next_event()["event"], "revoked");
    until("the agent has wiped all keys", async || {
        let keys = agent.status().await.keys;
        keys.iter().all(|key| key.state != "live").then_some(())
    })
    .await;
    assert_nowhere(agent.pid(), &all);
    assert_nowhere(tool.pid(), &all);
    assert_nowhere(server.pid(), &all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_cannot_be_read_by_a_handle_nor_be_asked_for() {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    ada.put("openai", &key);
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let client = keyferry_sdk::Client::connect_to(agent.socket())
        .await
        .unwrap();
    let handle = client.key("openai").await.unwrap();
    assert!(
        handle
            .expose(|bytes| bytes == key.text().as_bytes())
            .unwrap()
    );
    ada.revoke("openai");
    until("the page is zeroed in place", async || {
        matches!(
            handle.expose(<[u8]>::len),
            Err(keyferry_sdk::Error::Revoked)
        )
        .then_some(())
    })
    .await;
    let again = client.key("openai").await;
    assert!(matches!(again, Err(keyferry_sdk::Error::Revoked)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_tool_uses_a_key_through_the_proxy_it_is_in_secret_pages_only() {
    a_key_in_use_is_in_secret_pages_only(Speaks::Http1).await;
}

/// What carries the other fields of a request has tables and buffers that outlive it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_goes_to_a_host_in_http2_is_in_secret_pages_only() {
    a_key_in_use_is_in_secret_pages_only(Speaks::Http2).await;
}

async fn a_key_in_use_is_in_secret_pages_only(speaks: Speaks) {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start_speaking(speaks, &stage, &key).await;
    ada.put_for_host(("openai", "openai"), &provider.host(), &key);
    let settings = provider.agent_settings();
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &settings).await;
    agent.until_holding("openai", 1).await;
    let socket = agent.socket().to_str().unwrap();

    // Twenty requests on one connection, and one whose answer is still under way.
    let streaming = r#"exec curl --silent --no-buffer -H "Authorization: Bearer $OPENAI_API_KEY" \
        "$OPENAI_BASE_URL/upload?[1-20]" --data x \
        --next --silent --no-buffer -H "Authorization: Bearer $OPENAI_API_KEY" \
        "$OPENAI_BASE_URL/chat/completions" --data '{"stream": true}'"#;
    let mut tool = Program::start(&stage, "curl", binary("keyferry"), |command| {
        command.args(["exec", "--socket", socket, "--", "sh", "-c", streaming]);
    });
    while !tool.next_line().contains("chat.completion.chunk") {}
    assert_eq!(provider.seen().len(), 21);
    let guarded = agent.status().await.protection != "memfd_secret";
    assert_no_stray_copy(agent.pid(), &[&key], guarded);
    assert_no_stray_copy(tool.pid(), &[&key], guarded);

    provider.go_on();
    assert!(tool.wait().success());
    assert_no_stray_copy(agent.pid(), &[&key], guarded);
    ada.revoke("openai");
    until("the agent has wiped the key", async || {
        (agent.key("openai").await?.state == "revoked").then_some(())
    })
    .await;
    assert_nowhere(agent.pid(), &[&key]);
}

/// By a ticket and by a login, which leaves nothing of its password either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_without_an_agent_has_its_key_in_secret_pages_only() {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let (url, pin) = (server.url().to_owned(), server.fingerprint().to_owned());
    let login = ["--server", &url, "--fingerprint", &pin, "--username", "ada"];
    let login = [&login[..], &["--vm", "by-login"]].concat();
    let ticket = ada.ticket_for_new_vm("by-ticket");
    for (how, secret, options) in [
        ("by-ticket", ticket.as_str(), &[][..]),
        ("by-login", PASSWORD, &login[..]),
    ] {
        let key = Secret::fresh();
        ada.put(how, &key);
        let mut program = Program::start(&stage, how, example("direct"), |command| {
            command.args(["--key", how]).args(options);
        });
        program.feed(secret.as_bytes());
        assert!(program.next_line().contains(&key.sha256()));
        let guarded = self_test().unwrap() != ProtectionLevel::MemfdSecret;
        assert_no_stray_copy(program.pid(), &[&key], guarded);
        assert_eq!(fragments_of(program.pid(), secret), 0, "{how}");
        ada.revoke(how);
        assert!(program.next_line().contains("revoked"));
        assert_nowhere(program.pid(), &[&key]);
    }
}

fn fragments_of(pid: i32, secret: &str) -> usize {
    let sentinel = memscan::Sentinel {
        name: "secret".into(),
        bytes: secret.trim().as_bytes().to_vec(),
    };
    let mut report = Report::default();
    scan_process(&memscan::Matcher::new(&[sentinel], 12), &mut report, pid).unwrap();
    report.hits()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_keeps_nothing_of_a_sealed_value() {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let keys: Vec<Secret> = (0..5).map(|_| Secret::fresh()).collect();
    for (number, key) in keys.iter().enumerate() {
        ada.put(&format!("key-{number}"), key);
    }
    // The promise is about one second after the put, so this is the condition itself.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let all: Vec<&Secret> = keys.iter().collect();
    assert_nowhere(server.pid(), &all);

    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    for number in 0..5 {
        agent.until_holding(&format!("key-{number}"), 1).await;
    }
    assert_nowhere(server.pid(), &all);
}

/// As curl sends it. What passes the buffers of TLS, HTTP and JSON is wiped with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_keeps_nothing_of_passwords_tokens_and_plain_values() {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let (password, key) = (Secret::fresh(), Secret::fresh());
    let mut tokens = Vec::new();
    let account = json!({ "username": "ada", "password": password.text() });
    for path in ["/auth/register", "/auth/login"] {
        let answer = server
            .ask(Method::POST, path, None, Some(account.clone()))
            .await;
        let session = answer.success().unwrap();
        for kind in ["access_token", "session_token"] {
            let token = session[kind].as_str().unwrap();
            tokens.push((format!("{kind} {path}"), token.to_owned()));
            let bearer = SecretString::from(token);
            let me = server
                .ask(Method::GET, "/auth/me", Some(&bearer), None)
                .await;
            me.success().unwrap();
        }
        let token = session["session_token"].as_str().unwrap();
        let bearer = SecretString::from(token);
        let name = path.replace('/', "-");
        let put = json!({ "provider": "custom", "value": key.text() });
        let path = format!("/keys/key{name}");
        let put = server
            .ask(Method::PUT, &path, Some(&bearer), Some(put))
            .await;
        put.success().unwrap();
        let refresh = session["refresh_token"].as_str().unwrap();
        tokens.push((format!("refresh_token {name}"), refresh.to_owned()));
        let refresh = json!({ "refresh_token": refresh });
        let renewed = server
            .ask(Method::POST, "/auth/refresh", None, Some(refresh))
            .await;
        let renewed = renewed.success().unwrap();
        let renewed = renewed["refresh_token"].as_str().unwrap().to_owned();
        tokens.push((format!("its successor {name}"), renewed));
    }
    // The promise is about one second afterwards, so this is the condition itself.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_nowhere(server.pid(), &[&password, &key]);
    let named = |(name, token): (String, String)| memscan::Sentinel {
        name,
        bytes: token.into_bytes(),
    };
    let tokens: Vec<_> = tokens.into_iter().map(named).collect();
    let mut report = Report::default();
    scan_process(
        &memscan::Matcher::new(&tokens, 8),
        &mut report,
        server.pid(),
    )
    .unwrap();
    assert_eq!(report.hits(), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_keeps_nothing_of_its_ticket() {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let ticket = ada.ticket_for_new_vm("kali-1");
    let agent = Agent::start(&stage, "kali-1", ticket.as_bytes());
    agent.until_healthy().await;
    // The part of the text that stands for the secret: bytes 17 to 48 of what follows `kft1_`.
    let secret = ticket["kft1_".len()..][24..64].to_owned();
    let sentinel = memscan::Sentinel {
        name: "ticket".into(),
        bytes: secret.into_bytes(),
    };
    let mut report = Report::default();
    scan_process(
        &memscan::Matcher::new(&[sentinel], 8),
        &mut report,
        agent.pid(),
    )
    .unwrap();
    assert_eq!(report.hits(), 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_memfd_secret_keys_are_in_guarded_pages_only() {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    ada.put("openai", &key);
    let ticket = ada.ticket_for_new_vm("kali-1");
    let poor = ("mlock", &[][..]);
    let mut agent = Agent::launch_confined(&stage, "kali-1", poor, ticket.as_bytes());
    agent.until_served();
    let mut tool = Tool::open_to_stay(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["sha256"], key.sha256());
    for pid in [agent.pid(), tool.pid()] {
        assert_no_stray_copy(pid, &[&key], true);
        // Root can read these: the search would find the key anywhere else too.
        let report = scan(pid, &[&key]);
        assert!(report.findings().any(|it| it.whole), "{report}");
    }

    ada.revoke("openai");
    assert_eq!(tool.next_event()["event"], "revoked");
    assert_nowhere(tool.pid(), &[&key]);
    until("the agent has wiped the key", async || {
        (agent.key("openai").await?.state == "revoked").then_some(())
    })
    .await;
    assert_nowhere(agent.pid(), &[&key]);
}

/// Without this, the zeros of the others would mean nothing.
#[test]
fn a_careless_program_is_caught() {
    let key = Secret::fresh();
    let mut holder = Command::new(binary("memscan"))
        .arg("hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(holder.stdin.as_mut().unwrap(), "{}", key.text()).unwrap();
    let mut ready = String::new();
    BufReader::new(holder.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    assert_eq!(ready, "holding\n");
    let report = scan(holder.id().cast_signed(), &[&key]);
    assert!(report.findings().any(|it| it.whole), "{report}");
    assert!(
        report.findings().any(|it| it.place.ends_with("registers")),
        "{report}"
    );
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

fn assert_nowhere(pid: i32, keys: &[&Secret]) {
    let report = scan(pid, keys);
    assert_eq!(report.hits(), 0, "{report}");
}

/// With `guarded`, the pages that hold the keys can be read by root, and do not count.
fn assert_no_stray_copy(pid: i32, keys: &[&Secret], guarded: bool) {
    let report = scan(pid, keys);
    let stray = report
        .findings()
        .filter(|it| !(guarded && it.place.ends_with(GUARDED)))
        .count();
    assert_eq!(stray, 0, "{report}");
}

fn scan(pid: i32, keys: &[&Secret]) -> Report {
    let mut report = Report::default();
    scan_process(&Secret::matcher(keys), &mut report, pid).unwrap();
    assert!(report.scanned() > 1 << 20, "nearly nothing was read");
    report
}
