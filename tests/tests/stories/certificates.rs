//! Servers with certificates of their own, from an authority that agents and people trust.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use keyferry_tests::fleet::Owner;
use keyferry_tests::{Agent, Authority, Engine, Redis, Replicas, Shared, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_go_on_to_a_server_with_another_certificate_of_the_same_authority() {
    let stage = Stage::new(Engine::Postgres).await;
    let redis = Redis::start(&stage);
    let authority = Authority::new();
    let trusted = stage.path("authority.pem");
    std::fs::write(&trusted, authority.pem()).unwrap();
    let shared = Shared::fresh();
    let settings = [&redis.settings()[..], &[("KEYFERRY_TLS_PIN", "system")]].concat();
    let mut servers = Replicas::furnished(&stage, (2, &settings), |data_dir| {
        shared.put_master_key_into(data_dir);
        certify(&authority, data_dir);
    });
    assert_ne!(servers[0].fingerprint(), servers[1].fingerprint());
    let owner = Owner::register(&stage, &servers[0], "ada").await;
    owner.put("openai").await;
    let ticket = owner.ticket("kali-1").await;
    let agent = Agent::start_with(&stage, ("kali-1", &ticket), |command| {
        command.env("SSL_CERT_FILE", &trusted);
    });
    agent.until_holding("openai", 1).await;

    servers[0].kill();
    agent.until_served_by(&servers[1]).await;
    owner.go_to(&servers[1]);
    owner.rotate("openai", 2).await;
    agent.until_holding("openai", 2).await;
}

/// A certificate with a key of its own, for a server of this machine.
fn certify(authority: &Authority, data_dir: &Path) {
    let (certificate, key) = authority.certify(&["127.0.0.1"]);
    std::fs::write(data_dir.join("tls-certificate.pem"), certificate.pem()).unwrap();
    std::fs::write(data_dir.join("tls-key.pem"), key.serialize_pem()).unwrap();
}
