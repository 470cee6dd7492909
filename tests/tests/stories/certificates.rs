//! Servers with certificates of their own, from an authority that agents and people trust.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use keyferry_tests::fleet::Owner;
use keyferry_tests::{Agent, Engine, Redis, Replicas, Shared, Stage};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_go_on_to_a_server_with_another_certificate_of_the_same_authority() {
    let stage = Stage::new(Engine::Postgres).await;
    let redis = Redis::start(&stage);
    let authority = Authority::make(&stage);
    let shared = Shared::fresh();
    let settings = [&redis.settings()[..], &[("KEYFERRY_TLS_PIN", "system")]].concat();
    let mut servers = Replicas::furnished(&stage, (2, &settings), |data_dir| {
        shared.put_master_key_into(data_dir);
        authority.certify(data_dir);
    });
    assert_ne!(servers[0].fingerprint(), servers[1].fingerprint());
    let owner = Owner::register(&stage, &servers[0], "ada").await;
    owner.put("openai").await;
    let ticket = owner.ticket("kali-1").await;
    let agent = Agent::start_with(&stage, ("kali-1", &ticket), |command| {
        command.env("SSL_CERT_FILE", &authority.file);
    });
    agent.until_holding("openai", 1).await;

    servers[0].kill();
    agent.until_served_by(&servers[1]).await;
    owner.go_to(&servers[1]);
    owner.rotate("openai", 2).await;
    agent.until_holding("openai", 2).await;
}

/// Who certifies servers.
struct Authority {
    file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn make(stage: &Stage) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let file = stage.path("authority.pem");
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { file, issuer }
    }

    /// A certificate with a key of its own, for a server of this machine.
    fn certify(&self, data_dir: &Path) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(data_dir.join("tls-certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(data_dir.join("tls-key.pem"), key.serialize_pem()).unwrap();
    }
}
