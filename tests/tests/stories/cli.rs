//! The `keyferry` command as a person meets it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use keyferry_tests::{
    Agent, Engine, PASSWORD, Person, Secret, Server, Stage, binary, on_both_engines, until,
};
use serde_json::{Value, json};

on_both_engines!(
    a_session_is_kept_for_its_owner_alone_and_ends_with_logout,
    an_expired_access_token_is_renewed_without_a_word,
    an_unknown_server_is_not_trusted_without_a_person,
    a_server_with_another_key_is_refused,
    errors_have_exit_codes_and_say_what_to_do,
    keys_are_listed_and_shown_without_their_values,
    a_value_is_never_shown_on_a_terminal_unless_forced,
    the_status_tells_of_agent_and_server,
    several_commands_at_once_share_one_renewal,
    errors_have_codes_for_programs,
    a_command_says_what_to_do_next,
    a_key_ends_when_its_owner_says,
);

#[tokio::test]
async fn help_and_completions_need_no_server() {
    let stage = Stage::new(Engine::Sqlite).await;
    let anybody = Person::new(&stage, "anybody");
    let help = anybody.run(&["--help"], b"").success().output;
    assert!(help.contains("Exit codes"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let script = anybody.run(&["completions", shell], b"").success().output;
        assert!(script.contains("keyferry"), "{shell}");
    }
    let wrong = anybody.run(&["keys", "put", "a/b"], b"");
    assert_eq!(wrong.code, 2);
    assert!(wrong.errors.contains("A-Z"), "{}", wrong.errors);
}

async fn a_session_is_kept_for_its_owner_alone_and_ends_with_logout(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let file = ada.session_file();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        file.parent()
            .unwrap()
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );

    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let refused = ada.run(&["keys", "list"], b"");
    assert_eq!(refused.code, 1);
    assert!(
        refused.errors.contains("others can read it"),
        "{}",
        refused.errors
    );
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();

    let kept = std::fs::read(&file).unwrap();
    ada.run(&["logout"], b"").success();
    assert!(!file.exists());
    assert_eq!(ada.run(&["keys", "list"], b"").code, 3);
    std::fs::write(&file, kept).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(
        ada.run(&["keys", "list"], b"").code,
        3,
        "the old session still works"
    );
}

async fn an_expired_access_token_is_renewed_without_a_word(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let before = expire(&ada);
    assert_eq!(ada.ask(&["keys", "list"])["items"], json!([]));
    let after = session(&ada);
    assert_ne!(after["refresh_token"], before["refresh_token"]);
    assert!(after["expires_at"].as_i64() > Some(0));
}

async fn several_commands_at_once_share_one_renewal(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    expire(&ada);
    std::thread::scope(|scope| {
        let together: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| ada.run(&["keys", "list"], b"").code))
            .collect();
        for one in together {
            assert_eq!(one.join().unwrap(), 0);
        }
    });
}

async fn an_unknown_server_is_not_trusted_without_a_person(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::new(&stage, "ada");
    let login = [
        "login",
        "--server",
        server.url(),
        "--username",
        "ada",
        "--password-stdin",
    ];
    let refused = ada.run(&login, PASSWORD.as_bytes());
    assert_eq!(refused.code, 5);
    let command = format!(
        "--server {} --fingerprint {}",
        server.url(),
        server.fingerprint()
    );
    assert!(refused.errors.contains(&command), "{}", refused.errors);
    assert!(!ada.session_file().exists());
}

async fn a_server_with_another_key_is_refused(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::new(&stage, "ada");
    let pin = format!("sha256:{}", "A".repeat(43));
    let login = [
        "login",
        "--server",
        server.url(),
        "--fingerprint",
        &pin,
        "--username",
        "ada",
        "--password-stdin",
    ];
    let refused = ada.run(&login, PASSWORD.as_bytes());
    assert_eq!(refused.code, 5);
    assert!(
        refused.errors.contains("not the trusted one"),
        "{}",
        refused.errors
    );
}

async fn errors_have_exit_codes_and_say_what_to_do(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let stranger = Person::new(&stage, "stranger").run(&["keys", "list"], b"");
    assert_eq!(stranger.code, 3);
    assert!(
        stranger.errors.contains("keyferry login"),
        "{}",
        stranger.errors
    );

    let login = ["--json", "login", "--username", "ada", "--password-stdin"];
    let wrong = ada.run(&login, b"wrong");
    let error: Value = serde_json::from_str(&wrong.errors).unwrap();
    assert_eq!(
        (wrong.code, &error["code"]),
        (3, &json!("invalid_credentials"))
    );

    assert_eq!(ada.run(&["keys", "show", "nothing"], b"").code, 4);
    assert_eq!(ada.run(&["vms", "held", "nothing"], b"").code, 4);
    let empty = ada.run(&["keys", "put", "openai"], b"");
    assert_eq!(empty.code, 1);
    assert!(empty.errors.contains("empty"), "{}", empty.errors);
    let long = ada.run(&["keys", "put", "openai"], &[b'k'; 10_000]);
    assert_eq!(long.code, 1);

    server.kill();
    let away = ada.run(&["keys", "list"], b"");
    assert_eq!(away.code, 5);
    assert!(away.errors.contains(server.url()), "{}", away.errors);
}

async fn keys_are_listed_and_shown_without_their_values(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let (key, next) = (Secret::fresh(), Secret::fresh());
    ada.put("openai", &key);
    ada.rotate("openai", &next);
    let listed = ada.ask(&["keys", "list"]);
    assert_eq!(listed["items"][0]["name"], "openai");
    assert_eq!(listed["items"][0]["version"], 2);
    assert_eq!(listed["items"][0]["last4"], next.text()[44..]);
    let shown = ada.ask(&["keys", "show", "openai"]);
    assert_eq!(shown["versions"].as_array().unwrap().len(), 2);
    for command in [&["keys", "list"][..], &["keys", "show", "openai"]] {
        let human = ada.run(command, b"").success().output;
        assert!(human.contains("openai"), "{human}");
        for text in [human, shown.to_string(), listed.to_string()] {
            assert!(!text.contains(&key.text()[..40]) && !text.contains(&next.text()[..40]));
        }
    }
}

async fn a_value_is_never_shown_on_a_terminal_unless_forced(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    ada.put("openai", &key);
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let read = format!(
        "{} read openai --socket {}",
        binary("keyferry").display(),
        agent.socket().display()
    );
    let refused = on_a_terminal(&read);
    assert!(
        refused.contains("terminal") && !refused.contains(key.text()),
        "{refused}"
    );
    assert!(on_a_terminal(&format!("{read} --force")).contains(key.text()));
}

async fn the_status_tells_of_agent_and_server(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let socket = agent.socket().to_str().unwrap();
    let status = ada.ask(&["status", "--socket", socket]);
    assert_eq!(status["agent"]["keys"][0]["name"], "openai");
    assert_eq!(status["server"]["status"], "healthy");
    let human = ada
        .run(&["status", "--socket", socket], b"")
        .success()
        .output;
    assert!(
        human.contains("openai") && human.contains("healthy"),
        "{human}"
    );

    let stranger = Person::new(&stage, "stranger");
    stranger.run(&["status", "--socket", socket], b"").success();

    let without_agent = ada.run(&["--json", "status", "--socket", "/nonexistent"], b"");
    assert_eq!(without_agent.code, 6);
    let told: Value = serde_json::from_str(&without_agent.output).unwrap();
    let error = told["agent_error"].as_str().unwrap();
    assert!(error.contains("not running"), "{error}");
    server.kill();
    until("the agent has lost its server", async || {
        (!agent.status().await.connected).then_some(())
    })
    .await;
    let stale = ada.run(&["status", "--socket", socket], b"");
    assert_eq!(stale.code, 6, "{}", stale.output);
    let neither = ada.run(&["status", "--socket", "/nonexistent"], b"");
    assert_eq!(neither.code, 6);
}

async fn errors_have_codes_for_programs(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let code = |person: &Person<'_>, arguments: &[&str]| {
        let refused = person.run(&[&["--json"], arguments].concat(), b"");
        let told: Value = serde_json::from_str(&refused.errors).unwrap();
        assert_eq!(told["exit_code"], refused.code);
        told["code"].as_str().unwrap().to_owned()
    };
    let stranger = Person::new(&stage, "stranger");
    assert_eq!(code(&stranger, &["keys", "list"]), "not_signed_in");
    assert_eq!(code(&ada, &["vms", "ticket", "nowhere"]), "not_found");
    let read = ["read", "openai", "--socket", "/nonexistent"];
    assert_eq!(code(&ada, &read), "agent_not_running");
    server.kill();
    assert_eq!(code(&ada, &["keys", "list"]), "unreachable");
}

async fn a_command_says_what_to_do_next(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let shown = ada.run(&["account", "show"], b"").success().output;
    assert!(shown.starts_with("ada\n"), "{shown}");

    let stored = ada.run(&["keys", "put", "search"], b"s3cret").success();
    assert!(stored.output.contains("--allow-host"), "{}", stored.output);
    let again = ada.run(&["keys", "put", "search"], b"s3cret");
    assert_eq!(again.code, 1);
    assert!(
        again.errors.contains("keys rotate search"),
        "{}",
        again.errors
    );
    let nothing = ada.run(&["keys", "policy", "search"], b"");
    assert_eq!(nothing.code, 2, "{}", nothing.errors);

    ada.run(&["vms", "add", "kali-1"], b"").success();
    ada.run(&["vms", "rename", "kali-1", "kali-2"], b"")
        .success();
    assert_eq!(ada.ask(&["vms", "list"])["items"][0]["name"], "kali-2");

    for _ in 0..5 {
        let wrong = ada.try_to_log_in(&server, "ada", b"Wrong-Harbour-7-Lantern");
        assert_eq!(wrong.code, 3, "{}", wrong.errors);
    }
    let locked = ada.try_to_log_in(&server, "ada", PASSWORD.as_bytes());
    assert!(locked.errors.contains(": wait 1"), "{}", locked.errors);
    assert!(locked.errors.contains(" minutes"), "{}", locked.errors);
}

async fn a_key_ends_when_its_owner_says(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let put = ["keys", "put", "openai", "--raw", "--expires", "2099-12-31"];
    ada.run(&put, b"s3cret").success();
    let ends = || ada.ask(&["keys", "show", "openai"])["key"]["policy"]["expires_at"].clone();
    assert!(ends().as_str().unwrap().starts_with("2099-12-31T00:00:00"));
    let policy = ["keys", "policy", "openai", "--expires"];
    ada.run(&[&policy[..], &["none"]].concat(), b"").success();
    assert_eq!(ends(), Value::Null);
    let past = ada.run(&[&policy[..], &["2020-01-01"]].concat(), b"");
    assert!(past.errors.contains("is in the past"), "{}", past.errors);
}

/// Runs a command with a terminal as its standard streams, and gives what the terminal showed.
fn on_a_terminal(command: &str) -> String {
    let output = Command::new("script")
        .args(["-qec", command, "/dev/null"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Makes the access token look old, and gives the session as it was.
fn expire(person: &Person<'_>) -> Value {
    let mut changed = session(person);
    changed["expires_at"] = json!(0);
    std::fs::write(person.session_file(), changed.to_string()).unwrap();
    changed
}

fn session(person: &Person<'_>) -> Value {
    serde_json::from_slice(&std::fs::read(person.session_file()).unwrap()).unwrap()
}
