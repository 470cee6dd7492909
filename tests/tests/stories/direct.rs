//! A program speaks to the server itself, where no agent runs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_sdk::link::Endpoint;
use keyferry_sdk::tls::ServerTrust;
use keyferry_sdk::{Client, Login};
use keyferry_tests::{Engine, PASSWORD, Person, Secret, Server, Stage, on_both_engines, until};
use secrecy::SecretString;

on_both_engines!(
    a_program_without_an_agent_reads_keys_that_follow_their_owner,
    a_ticket_that_was_used_says_what_to_do,
    a_login_does_where_there_is_no_ticket,
    a_program_that_the_owner_does_not_name_has_no_key,
);

async fn a_program_without_an_agent_reads_keys_that_follow_their_owner(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let first = Secret::fresh();
    ada.put("openai", &first);
    ada.run(&["keys", "put", "closed"], b"sk-closed").success();
    let ticket = ada.ticket_for_new_vm("my-program");
    let client = Client::direct(ticket.trim().as_bytes()).await.unwrap();
    let key = client.key("openai").await.unwrap();
    let is = |value: &Secret| key.expose(|bytes| bytes == value.text().as_bytes());
    assert!(is(&first).unwrap());
    let header = key.bearer().unwrap();
    assert!(header.is_sensitive());
    assert_eq!(
        header.as_bytes(),
        format!("Bearer {}", first.text()).as_bytes()
    );
    assert_eq!(
        client.key("closed").await.unwrap_err().code(),
        "inject_only"
    );
    assert_eq!(client.key("unknown").await.unwrap_err().code(), "not_found");

    let mut watch = key.watch();
    let second = Secret::fresh();
    ada.rotate("openai", &second);
    assert_eq!(watch.changed().await.unwrap().version, 2);
    assert!(is(&second).unwrap());

    // The server is away and back: the same handle goes on.
    server.crash_and_restart(&stage);
    assert!(is(&second).unwrap());
    let third = Secret::fresh();
    ada.rotate("openai", &third);
    until("the new value is there", async || {
        is(&third).ok()?.then_some(())
    })
    .await;

    ada.revoke("openai");
    until("the key is zeroed", async || {
        (key.expose(|_| ()).err()?.code() == "revoked").then_some(())
    })
    .await;
    until("the owner sees it", async || {
        let held = ada.held("my-program");
        let last = held.iter().find(|held| held["version"] == 3)?;
        (last["outcome"] == "wiped").then_some(())
    })
    .await;
}

async fn a_program_that_the_owner_does_not_name_has_no_key(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    for name in ["for-us", "for-others"] {
        ada.put(name, &Secret::fresh());
    }
    let own = format!("exe={}", std::env::current_exe().unwrap().display());
    for (name, rule) in [
        ("for-us", own.as_str()),
        ("for-others", "exe=/usr/bin/other"),
    ] {
        ada.run(&["keys", "policy", name, "--tool", rule], b"")
            .success();
    }
    let ticket = ada.ticket_for_new_vm("my-program");
    let client = Client::direct(ticket.trim().as_bytes()).await.unwrap();
    let key = client.key("for-us").await.unwrap();
    let refused = client.key("for-others").await.unwrap_err();
    assert_eq!(refused.code(), "not_permitted");
    assert!(refused.to_string().contains("--tool"), "{refused}");

    // The page that is out ends with a narrower rule.
    let mut watch = key.watch();
    let narrower = ["keys", "policy", "for-us", "--tool", "exe=/usr/bin/other"];
    ada.run(&narrower, b"").success();
    watch.changed().await.unwrap();
    assert_eq!(key.expose(|_| ()).unwrap_err().code(), "revoked");
}

async fn a_ticket_that_was_used_says_what_to_do(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let ticket = ada.ticket_for_new_vm("my-program");
    let _client = Client::direct(ticket.trim().as_bytes()).await.unwrap();
    let again = Client::direct(ticket.trim().as_bytes())
        .await
        .err()
        .unwrap();
    assert_eq!(again.code(), "ticket_refused");
    assert!(again.to_string().contains("keyferry vms ticket"));
    let nonsense = Client::direct(b"kft1_nonsense").await.err().unwrap();
    assert_eq!(nonsense.code(), "bad_ticket");
}

async fn a_login_does_where_there_is_no_ticket(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let value = Secret::fresh();
    ada.put("openai", &value);
    let trust = ServerTrust::Pinned(server.fingerprint().parse().unwrap());
    let endpoint = Endpoint::new(server.url().parse().unwrap(), &trust, None).unwrap();
    let reads = async |login: Login<'_>| {
        let client = Client::direct_as(&endpoint, &login, "my-program").await?;
        let key = client.key("openai").await?;
        key.expose(|bytes| bytes == value.text().as_bytes())
    };
    let by_password = |password| Login::Person {
        username: "ada",
        password,
        mfa_code: None,
    };
    // The machine is added the first time, and found the second.
    let password = SecretString::from(PASSWORD);
    for _ in 0..2 {
        assert!(reads(by_password(&password)).await.unwrap());
    }
    let made = ada.ask(&[
        "api-keys",
        "add",
        "ci",
        "--permission",
        "vm:enroll",
        "--permission",
        "vm:read",
    ]);
    let secret = made["key"].as_str().unwrap();
    assert!(reads(Login::ApiKey(&secret.into())).await.unwrap());
    assert_eq!(
        ada.ask(&["vms", "list"])["items"].as_array().unwrap().len(),
        1
    );
    // Nobody stays signed in for it.
    let sessions = ada.ask(&["sessions", "list"]);
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1, "{sessions}");

    let wrong = SecretString::from("wrong");
    let refused = reads(by_password(&wrong)).await.unwrap_err();
    assert_eq!(refused.code(), "login");
    assert!(
        refused.to_string().contains("invalid_credentials"),
        "{refused}"
    );
}
