//! Which tools may use a key, and how much: as its owner and the machine say.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use keyferry_tests::{
    Agent, Engine, PATIENCE, Person, Provider, Raw, Secret, Server, Stage, Tool, binary, copy_of,
    on_both_engines, until, until_the_day_is_long_enough,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

on_both_engines!(
    a_changed_policy_reaches_the_machines_at_once,
    a_key_is_given_to_the_programs_that_its_owner_names,
    a_helper_of_the_service_manager_tells_programs_apart,
    a_program_is_known_by_its_content_wherever_it_is,
    a_narrowed_policy_reaches_the_pages_and_tokens_that_are_out,
    a_budget_bounds_the_requests_of_a_machine,
    a_revoked_key_takes_what_is_under_way_with_it,
);

/// `keyferry read` by a copy of the program at this place.
fn read_by(program: &Path, agent: &Agent, key: &str) -> Output {
    Command::new(program)
        .args(["read", key, "--socket"])
        .arg(agent.socket())
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .unwrap()
}

async fn a_changed_policy_reaches_the_machines_at_once(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let value = Secret::fresh();
    ada.put("openai", &value);
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let other = Agent::enrol(&stage, &ada, "kali-2").await;
    agent.until_holding("openai", 1).await;
    other.until_holding("openai", 1).await;
    let keyferry = binary("keyferry");
    let read = read_by(&keyferry, &agent, "openai");
    assert_eq!(String::from_utf8(read.stdout).unwrap(), value.text());

    ada.run(
        &["keys", "policy", "openai", "--inject", "--vm", "kali-1"],
        b"",
    )
    .success();
    until("the other machine has wiped it", async || {
        (other.key("openai").await?.state == "revoked").then_some(())
    })
    .await;
    until("no tool reads it any more", async || {
        (agent.key("openai").await?.delivery == "inject").then_some(())
    })
    .await;
    let read = read_by(&keyferry, &agent, "openai");
    assert!(
        String::from_utf8(read.stderr)
            .unwrap()
            .contains("inject_only")
    );
    let shown = ada.ask(&["keys", "show", "openai"])["key"]["policy"].clone();
    assert_eq!(
        (&shown["delivery"], &shown["lease_seconds"]),
        (&"inject".into(), &900.into())
    );

    ada.run(&["keys", "policy", "openai", "--raw", "--all-vms"], b"")
        .success();
    other.until_holding("openai", 1).await;
    until("tools read it again", async || {
        read_by(&keyferry, &agent, "openai")
            .status
            .success()
            .then_some(())
    })
    .await;
    ada.revoke("openai");
    let late = ada.run(&["--json", "keys", "policy", "openai", "--inject"], b"");
    assert!(late.errors.contains("key_revoked"), "{late:?}");
}

async fn a_key_is_given_to_the_programs_that_its_owner_names(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let settings = "[policy]\nidentify_programs = true\n";
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", settings).await;
    let plain = Agent::enrol(&stage, &ada, "kali-2").await;
    let tool = stage.path("my-tool");
    copy_of("keyferry", &tool);
    let rule = format!("exe={}", tool.display());
    ada.run(&["keys", "policy", "openai", "--tool", &rule], b"")
        .success();
    for agent in [&agent, &plain] {
        until("the rule is in force", async || {
            (!read_by(&binary("keyferry"), agent, "openai")
                .status
                .success())
            .then_some(())
        })
        .await;
    }
    let refused = read_by(&binary("keyferry"), &agent, "openai");
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.contains("not_permitted") && refused.contains("keyferry"),
        "{refused}"
    );
    assert!(
        refused.contains("tools of the policy of openai"),
        "{refused}"
    );
    assert!(read_by(&tool, &agent, "openai").status.success());
    // An agent that cannot tell programs apart gives it to none, and says what to do.
    let refused = read_by(&tool, &plain, "openai");
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.contains("identify_programs"), "{refused}");
    let advice = plain.status().await.advice;
    assert!(
        advice
            .iter()
            .any(|line| line.starts_with("openai is limited to programs"))
    );
}

/// As in the packages: the agent may see nobody, and a service manager starts who may.
async fn a_helper_of_the_service_manager_tells_programs_apart(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let socket = stage.path("programs.sock");
    let settings = format!("[policy]\nprograms_socket = \"{}\"\n", socket.display());
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &settings).await;
    let tool = stage.path("my-tool");
    copy_of("keyferry", &tool);
    let rule = format!("exe={}", tool.display());
    ada.run(&["keys", "policy", "openai", "--tool", &rule], b"")
        .success();
    until("without a helper nobody is given the key", async || {
        let refused = read_by(&tool, &agent, "openai").stderr;
        let refused = String::from_utf8(refused).unwrap();
        refused.contains("keyferry-programs.socket").then_some(())
    })
    .await;

    let listener = UnixListener::bind(&socket).unwrap();
    let manager = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let stream = OwnedFd::from(stream);
        let mut helper = Command::new(binary("keyferry-agent"));
        helper.arg("look-at-programs");
        helper.stdin(stream.try_clone().unwrap()).stdout(stream);
        helper.spawn().unwrap()
    });
    assert!(read_by(&tool, &agent, "openai").status.success());
    let refused = read_by(&binary("keyferry"), &agent, "openai");
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.contains("not_permitted"), "{refused}");
    drop(agent);
    // Its helper ends with it.
    assert!(manager.join().unwrap().wait().unwrap().success());
}

async fn a_program_is_known_by_its_content_wherever_it_is(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let settings = "[policy]\nidentify_programs = true\n";
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", settings).await;
    let keyferry = binary("keyferry");
    let hash = Sha256::digest(std::fs::read(&keyferry).unwrap());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let rule = format!("sha256={hex}");
    ada.run(&["keys", "policy", "openai", "--tool", &rule], b"")
        .success();
    let copy = stage.path("copy");
    let changed = stage.path("changed");
    copy_of("keyferry", &copy);
    copy_of("keyferry", &changed);
    let mut append = Command::new("sh");
    append.args(["-c", "printf ! >>\"$1\"", "sh"]).arg(&changed);
    assert!(append.status().unwrap().success());
    until("the rule is in force", async || {
        (!read_by(&changed, &agent, "openai").status.success()).then_some(())
    })
    .await;
    assert!(read_by(&keyferry, &agent, "openai").status.success());
    assert!(read_by(&copy, &agent, "openai").status.success());
}

/// A request of this process, by its token.
async fn send(raw: &Raw, body: &str) -> TcpStream {
    let mut stream = raw.connect().await;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        raw.token,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn ask(raw: &Raw) -> String {
    let mut answer = String::new();
    let mut stream = send(raw, "{\"model\": \"m\"}").await;
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn a_narrowed_policy_reaches_the_pages_and_tokens_that_are_out(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start(&stage, &key).await;
    ada.put_for_host(("openai", "openai"), &provider.host(), &key);
    ada.run(&["keys", "policy", "openai", "--raw"], b"")
        .success();
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &provider.agent_settings()).await;
    let mut tool = Tool::open_watching_the_page(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["event"], "live");
    let raw = Raw::of(&agent, "openai").await;
    assert!(ask(&raw).await.starts_with("HTTP/1.1 200"));

    ada.run(&["keys", "policy", "openai", "--tool", "uid=4711"], b"")
        .success();
    assert_eq!(tool.next_event()["event"], "revoked");
    let refused = ask(&raw).await;
    assert!(
        refused.starts_with("HTTP/1.1 403") && refused.contains("Keyferry-Error: not_permitted"),
        "{refused}"
    );
    assert_eq!(provider.seen().len(), 1);
    assert_eq!(agent.key("openai").await.unwrap().state, "live");
}

async fn a_budget_bounds_the_requests_of_a_machine(engine: Engine) {
    until_the_day_is_long_enough().await;
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start(&stage, &key).await;
    ada.put_for_host(("openai", "openai"), &provider.host(), &key);
    ada.run(
        &["keys", "policy", "openai", "--requests-per-day", "2"],
        b"",
    )
    .success();
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &provider.agent_settings()).await;
    agent.until_holding("openai", 1).await;
    let caller = Raw::of(&agent, "openai").await;
    for _ in 0..2 {
        assert!(ask(&caller).await.starts_with("HTTP/1.1 200"));
    }
    let refused = ask(&caller).await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(
        refused.contains("Keyferry-Error: budget_requests_per_day"),
        "{refused}"
    );
    assert_eq!(retry_after(&refused).div_ceil(86_400), 1, "by midnight");
    assert_eq!(provider.seen().len(), 2);
    let held = agent.key("openai").await.unwrap();
    assert_eq!(held.requests, 2);
    assert!(held.sent > 100 && held.received > 100, "{held:?}");

    ada.run(&["keys", "policy", "openai", "--no-budget"], b"")
        .success();
    until("the budget is gone", async || {
        ask(&caller).await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

fn retry_after(answer: &str) -> u32 {
    let (_, rest) = answer.split_once("Retry-After: ").unwrap();
    let (seconds, _) = rest.split_once("\r\n").unwrap();
    seconds.parse().unwrap()
}

async fn a_revoked_key_takes_what_is_under_way_with_it(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start(&stage, &key).await;
    ada.put_for_host(("openai", "openai"), &provider.host(), &key);
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &provider.agent_settings()).await;
    agent.until_holding("openai", 1).await;
    let caller = Raw::of(&agent, "openai").await;
    // The provider sends the first piece, and the rest when it is told: never.
    let mut stream = send(&caller, "{\"stream\": true}").await;
    let mut answer = String::new();
    let mut bytes = [0; 4096];
    while !answer.contains("chat.completion.chunk") {
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    ada.revoke("openai");
    let mut rest = Vec::new();
    let ends = stream.read_to_end(&mut rest);
    let _broken_off = tokio::time::timeout(PATIENCE, ends).await.expect("it ends");
    assert!(!answer.contains("0\r\n\r\n"));
}
