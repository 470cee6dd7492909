//! The server keeps what its own document promises: schemathesis asks it, with every check on.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::Command;

use hyper::Method;
use keyferry_tests::{Engine, PASSWORD, Server, Stage, binary, python_with_schemathesis};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_finds_what_the_document_says() {
    let (_stage, server, token) = world(Engine::Sqlite).await;
    let stays = [
        &["--phases", "examples,coverage,fuzzing"][..],
        &without(LEAVING),
    ]
    .concat();
    keeps_its_promises(&server, &token, &stays);
    assert_is_signed_in(&server, &token).await;
    keeps_its_promises(&server, &token, &only(LEAVING));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_finds_what_the_document_says_on_postgresql() {
    let (_stage, server, token) = world(Engine::Postgres).await;
    let stays = [&["--phases", "examples,stateful"][..], &without(LEAVING)].concat();
    keeps_its_promises(&server, &token, &stays);
    assert_is_signed_in(&server, &token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_finds_what_the_document_says() {
    let (_stage, server, _) = world(Engine::Sqlite).await;
    keeps_its_promises(&server, "kfs_none", &["--phases", "examples,fuzzing"]);
}

#[tokio::test]
async fn the_document_is_printed_without_a_server() {
    let (_stage, server, _) = world(Engine::Sqlite).await;
    let served = server.ask(Method::GET, "/openapi.json", None, None).await;
    let printed = Command::new(binary("keyferry-server"))
        .arg("openapi")
        .output();
    let printed: Value = serde_json::from_slice(&printed.unwrap().stdout).unwrap();
    assert_eq!(printed, served.body);
}

/// What ends the session that asks, so that nothing could be asked after it.
const LEAVING: &[&str] = &[
    "cookies_sign_out",
    "cookies_sign_out_everywhere",
    "sessions_end",
    "sessions_forget_device",
];

fn keeps_its_promises(server: &Server, token: &str, arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi");
    let output = Command::new(python_with_schemathesis())
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(folder.join("schemathesis.toml"))
        .args([
            "run",
            "--checks",
            "all",
            "--workers",
            "2",
            "--no-color",
            "--seed",
            "1",
        ])
        .args(arguments)
        .arg(format!("{}/openapi.json", server.url()))
        .env("KEYFERRY_TOKEN", token)
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}\n{told}{complaint}");
    assert!(!told.contains("No operations"), "{told}");
}

/// Else the answers were all the same.
async fn assert_is_signed_in(server: &Server, token: &str) {
    let me = server
        .ask(Method::GET, "/auth/me", Some(&token.into()), None)
        .await;
    assert_eq!(me.status, 200, "{}", me.body);
}

fn only<'a>(operations: &[&'a str]) -> Vec<&'a str> {
    chosen("--include-operation-id", operations)
}

fn without<'a>(operations: &[&'a str]) -> Vec<&'a str> {
    chosen("--exclude-operation-id", operations)
}

fn chosen<'a>(how: &'a str, operations: &[&'a str]) -> Vec<&'a str> {
    operations.iter().flat_map(|one| [how, one]).collect()
}

/// A server with no limits, and the session of its admin, who owns a tenant without limits.
async fn world(engine: Engine) -> (Stage, Server, String) {
    let stage = Stage::new(engine).await;
    let limits = ["AUTH_MAX_FAILED_ATTEMPTS", "AUTH_MAILS_PER_HOUR"];
    let mut settings: Vec<_> = limits.iter().map(|name| (*name, "0")).collect();
    settings.push(("AUTH_ENABLE_ACCOUNT_LOCKOUT", "false"));
    settings.push(("KEYFERRY_PLAIN_HTTP", "true"));
    let server = Server::start_with(&stage, &settings);
    on_host(
        &stage,
        &server,
        &["create", "--username", "root", "--password-stdin"],
    );
    on_host(&stage, &server, &["plan", "root", "enterprise"]);
    let login = json!({ "username": "root", "password": PASSWORD });
    let login = server
        .ask(Method::POST, "/auth/login", None, Some(login))
        .await;
    let token = login.body["session_token"].as_str().unwrap().to_owned();
    (stage, server, token)
}

fn on_host(stage: &Stage, server: &Server, arguments: &[&str]) {
    let mut command = server.run_beside(stage, "admin", |command| {
        command.arg("admin").args(arguments);
        command.env("AUTH_PASSWORD_HASH_ROUNDS", "10");
    });
    command.feed(PASSWORD.as_bytes());
    assert!(command.wait().success(), "{}", command.log());
}
