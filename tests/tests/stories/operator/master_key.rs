//! The master key: where it may be kept, and how it is replaced.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

use keyferry_tests::{
    Agent, Engine, Operator, Person, Secret, Server, Stage, on_both_engines, until,
};

on_both_engines!(
    a_rotation_that_is_repeated_without_its_key_file_keeps_the_key,
    the_master_key_is_replaced_while_server_and_agent_go_on,
    the_old_master_key_is_refused_and_nothing_is_touched,
    a_key_that_a_setting_names_is_replaced_by_another_file_and_not_by_one_before_it,
    a_passphrase_is_as_good_as_a_key_and_can_be_changed,
    a_master_key_that_is_given_twice_or_wrongly_is_refused_by_name,
);

async fn the_master_key_is_replaced_while_server_and_agent_go_on(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let before = Secret::fresh();
    ada.put("before", &before);
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("before", 1).await;
    let ticket = ada.ticket_for_new_vm("kali-2");
    let operator = Operator::of(&stage);

    let rotation = operator.start("rotation", &["rotate", "master-key", "--json"]);
    ada.put("meanwhile", &Secret::fresh());
    agent.until_holding("meanwhile", 1).await;
    let mut rotation = rotation;
    let told: serde_json::Value = serde_json::from_str(&rotation.next_line()).unwrap();
    assert!(told["records"].as_u64().unwrap() >= 5, "{told}");
    assert!(rotation.wait().success());

    ada.put("after", &Secret::fresh());
    agent.until_holding("after", 1).await;
    let late = Agent::start(&stage, "kali-2", ticket.as_bytes());
    late.until_holding("before", 1).await;
    server.crash_and_restart(&stage);
    agent.until_healthy().await;
    ada.rotate("before", &Secret::fresh());
    agent.until_holding("before", 2).await;
    assert_eq!(operator.ask(&["verify"])["ok"], true);
}

async fn the_old_master_key_is_refused_and_nothing_is_touched(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    assert!(server.terminate().success());
    let operator = Operator::of(&stage);
    let file = stage.data_dir().join("master.key");
    let old = std::fs::read(&file).unwrap();
    operator.run(&["rotate", "master-key"], b"").success();
    let new = std::fs::read(&file).unwrap();
    assert_ne!(old, new);

    std::fs::write(&file, &old).unwrap();
    let refused = operator.run(&["serve", "--listen", "127.0.0.1:0"], b"");
    assert_eq!(refused.code, 1);
    assert!(
        refused.errors.contains("not the master key"),
        "{}",
        refused.errors
    );
    std::fs::remove_file(&file).unwrap();
    let missing = operator.run(&["serve", "--listen", "127.0.0.1:0"], b"");
    assert!(
        missing.errors.contains("there is no master key"),
        "{}",
        missing.errors
    );
    assert!(!file.exists(), "none is made in its place");

    std::fs::write(&file, &new).unwrap();
    assert_eq!(operator.ask(&["verify"])["ok"], true);
    server.start_again(&stage);
    ada.rotate("openai", &Secret::fresh());
}

async fn a_rotation_that_is_repeated_without_its_key_file_keeps_the_key(engine: Engine) {
    let stage = Stage::new(engine).await;
    keep_a_key(&stage);
    let operator = Operator::of(&stage);
    until("a rotation is killed before its end", async || {
        let mut rotation = operator.start("rotation", &["rotate", "master-key"]);
        while announced(&stage).await.is_none() && !rotation.has_ended() {
            tokio::task::yield_now().await;
        }
        rotation.kill();
        announced(&stage).await
    })
    .await;
    std::fs::remove_file(next(&stage.data_dir())).unwrap();

    operator.run(&["rotate", "master-key"], b"").success();
    assert_eq!(operator.ask(&["verify"])["ok"], true);
    assert!(!next(&stage.data_dir()).exists());
}

/// A server on another host has a folder of its own, and no other way to the new key than this.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_could_not_keep_the_new_key_tries_until_it_can() {
    let stage = Stage::new(Engine::Postgres).await;
    keep_a_key(&stage);
    let elsewhere = stage.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let (here, there) = (
        stage.data_dir().join("master.key"),
        elsewhere.join("master.key"),
    );
    std::fs::copy(&here, &there).unwrap();
    let mut server = Server::start_elsewhere(&stage, &elsewhere, &[]);
    std::fs::create_dir(next(&elsewhere)).unwrap();
    let operator = Operator::of(&stage);
    operator.run(&["rotate", "master-key"], b"").success();
    assert_ne!(
        std::fs::read(&here).unwrap(),
        std::fs::read(&there).unwrap()
    );

    std::fs::remove_dir(next(&elsewhere)).unwrap();
    until("the server has written the key down", async || {
        (std::fs::read(&here).unwrap() == std::fs::read(&there).unwrap()).then_some(())
    })
    .await;
    server.crash_and_restart(&stage);
}

/// Something to lose with the master key, and nobody who has that in memory.
fn keep_a_key(stage: &Stage) {
    let mut server = Server::start(stage);
    let ada = Person::register(stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    assert!(server.terminate().success());
}

async fn announced(stage: &Stage) -> Option<()> {
    let rotations = stage.count("SELECT COUNT(*) FROM master_key_rotations");
    (rotations.await > 0).then_some(())
}

fn next(data_dir: &Path) -> PathBuf {
    data_dir.join("master.key.next")
}

async fn a_key_that_a_setting_names_is_replaced_by_another_file_and_not_by_one_before_it(
    engine: Engine,
) {
    const SETTING: &str = "ENCRYPTION_KEY_FILE";
    let stage = Stage::new(engine).await;
    let (place, first, second) = (stage.path("key"), stage.path("1"), stage.path("2"));
    std::fs::write(&first, "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n").unwrap();
    std::fs::write(&second, "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n").unwrap();
    std::fs::copy(&first, &place).unwrap();
    let given = place.to_str().unwrap();
    let mut server = Server::start_with(&stage, &[(SETTING, given)]);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let operator = Operator::of(&stage).with(SETTING, given);

    let stuck = operator.run(&["rotate", "master-key"], b"");
    assert!(stuck.errors.contains("--new-key-file"), "{}", stuck.errors);
    let replace = |by: &Path| {
        let by = by.to_str().unwrap();
        operator.run(
            &["rotate", "master-key", "--new-key-file", by, "--json"],
            b"",
        )
    };
    let told: serde_json::Value = serde_json::from_str(&replace(&second).success().output).unwrap();
    assert!(told["to_do"].as_str().unwrap().contains(SETTING), "{told}");
    ada.rotate("openai", &Secret::fresh());
    std::fs::copy(&second, &place).unwrap();
    server.crash_and_restart(&stage);

    let back = replace(&first);
    assert!(
        back.errors.contains("replaced by another"),
        "{}",
        back.errors
    );
    ada.rotate("openai", &Secret::fresh());
    ada.put("another", &Secret::fresh());
    assert_eq!(operator.ask(&["verify"])["ok"], true);
}

async fn a_passphrase_is_as_good_as_a_key_and_can_be_changed(engine: Engine) {
    const FIRST: &str = "seven harbours and one lantern";
    const SECOND: &str = "seven lanterns and one harbour";
    let stage = Stage::new(engine).await;
    let credentials = stage.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let file = credentials.join("master-passphrase");
    std::fs::write(&file, format!("{FIRST}\n")).unwrap();
    let folder = credentials.to_str().unwrap();
    let mut server = Server::start_with(&stage, &[("CREDENTIALS_DIRECTORY", folder)]);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    assert!(!stage.data_dir().join("master.key").exists());

    let operator = Operator::of(&stage).with("CREDENTIALS_DIRECTORY", folder);
    let stuck = operator.run(&["rotate", "master-key"], b"");
    assert!(
        stuck.errors.contains("master-passphrase"),
        "{}",
        stuck.errors
    );
    let change = ["rotate", "master-key", "--new-passphrase-stdin"];
    operator.run(&change, SECOND.as_bytes()).success();
    ada.rotate("openai", &Secret::fresh());
    server.kill();
    let refused = operator.run(&["verify"], b"");
    assert!(
        refused.output.contains("✗ master key"),
        "{}",
        refused.output
    );
    std::fs::write(&file, SECOND).unwrap();
    server.start_again(&stage);
    ada.rotate("openai", &Secret::fresh());
}

async fn a_master_key_that_is_given_twice_or_wrongly_is_refused_by_name(engine: Engine) {
    let stage = Stage::new(engine).await;
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let twice = Operator::of(&stage)
        .with(
            "ENCRYPTION_KEY",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        )
        .with("ENCRYPTION_PASSPHRASE", "seven harbours and one lantern");
    let refused = twice.run(&serve, b"").errors;
    assert!(refused.contains("ENCRYPTION_KEY"), "{refused}");
    let wrong = Operator::of(&stage).with("ENCRYPTION_KEY", "dG9vIHNob3J0");
    let refused = wrong.run(&serve, b"").errors;
    assert!(
        refused.contains("ENCRYPTION_KEY must be 32 bytes"),
        "{refused}"
    );
    assert!(!refused.contains("dG9v"), "{refused}");
}
