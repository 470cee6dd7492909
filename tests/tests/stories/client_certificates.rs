//! A server that lets nobody in without a certificate serves people, agents and tools that have one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use keyferry_sdk::{Client, ClientCertificate};
use keyferry_tests::{
    Agent, Authority, Engine, PASSWORD, Person, Secret, Server, Stage, on_both_engines, until,
};

on_both_engines!(
    who_shows_a_certificate_is_served_and_others_are_told_what_to_do,
    certificates_and_their_authority_are_replaced_while_everybody_runs,
);

/// An authority's certificate, and that of a client with its key.
struct Files {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn in_stage(stage: &Stage) -> Self {
        let files = Self {
            authority: stage.path("authority.pem"),
            certificate: stage.path("client.pem"),
            key: stage.path("client-key.pem"),
        };
        files.renew();
        files
    }

    /// All of them anew: what was issued before is worth nothing to the new authority.
    fn renew(&self) {
        let authority = Authority::new();
        write(&self.authority, authority.pem()).unwrap();
        let (certificate, key) = authority.certify(&["client"]);
        write(&self.certificate, certificate.pem()).unwrap();
        write(&self.key, key.serialize_pem()).unwrap();
        set_permissions(&self.key, Permissions::from_mode(0o600)).unwrap();
    }

    fn server(&self, stage: &Stage) -> Server {
        let settings = [
            (
                "KEYFERRY_TLS_CLIENT_CA_FILE",
                self.authority.to_str().unwrap(),
            ),
            ("KEYFERRY_TLS_CLIENT_CERTIFICATES", "everybody"),
        ];
        Server::start_with(stage, &settings)
    }

    fn flags(&self) -> [&str; 4] {
        let (certificate, key) = (self.certificate.to_str(), self.key.to_str());
        [
            "--client-certificate",
            certificate.unwrap(),
            "--client-key",
            key.unwrap(),
        ]
    }

    /// The settings of an agent.
    fn settings(&self) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!("client_certificate = '{certificate}'\nclient_key = '{key}'\n")
    }

    fn register<'a>(&self, stage: &'a Stage, server: &Server) -> Person<'a> {
        let ada = Person::new(stage, "ada");
        let register = register(server);
        let register = [&register[..], &self.flags()].concat();
        ada.run(&register, PASSWORD.as_bytes()).success();
        ada
    }
}

fn register(server: &Server) -> [&str; 8] {
    let (url, pin) = (server.url(), server.fingerprint());
    let who = ["--username", "ada", "--password-stdin"];
    let [user, ada, stdin] = who;
    [
        "register",
        "--server",
        url,
        "--fingerprint",
        pin,
        user,
        ada,
        stdin,
    ]
}

async fn who_shows_a_certificate_is_served_and_others_are_told_what_to_do(engine: Engine) {
    let stage = Stage::new(engine).await;
    let files = Files::in_stage(&stage);
    let server = files.server(&stage);
    let refused = Person::new(&stage, "bob").run(&register(&server), PASSWORD.as_bytes());
    assert_eq!(refused.code, 1);
    assert!(
        refused.errors.contains("--client-certificate"),
        "{}",
        refused.errors
    );

    let ada = files.register(&stage, &server);
    let secret = Secret::fresh();
    ada.put("openai", &secret);
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &files.settings()).await;
    agent.until_it_has("openai").await;

    let ticket = ada.ticket_for_new_vm("my-program");
    let shown = ClientCertificate::read(&files.certificate, &files.key).unwrap();
    let client = Client::direct_with_certificate(ticket.trim().as_bytes(), &shown);
    let key = client.await.unwrap().key("openai").await.unwrap();
    assert!(
        key.expose(|bytes| bytes == secret.text().as_bytes())
            .unwrap()
    );

    let ticket = ada.ticket_for_new_vm("kali-2");
    let refused = Client::direct(ticket.trim().as_bytes())
        .await
        .err()
        .unwrap();
    let says = std::error::Error::source(&refused).unwrap().to_string();
    assert!(says.contains("wants a client certificate"), "{says}");
    let without = Agent::start(&stage, "kali-2", ticket.as_bytes());
    until("the agent says what it lacks", async || {
        let log = without.log();
        log.contains("wants a client certificate").then_some(())
    })
    .await;

    set_permissions(&files.key, Permissions::from_mode(0o644)).unwrap();
    let refused = ada.run(&["keys", "list"], b"");
    assert!(refused.errors.contains("chmod go="), "{}", refused.errors);
}

async fn certificates_and_their_authority_are_replaced_while_everybody_runs(engine: Engine) {
    let stage = Stage::new(engine).await;
    let files = Files::in_stage(&stage);
    let mut server = files.server(&stage);
    let ada = files.register(&stage, &server);
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &files.settings()).await;
    agent.until_holding("openai", 1).await;

    files.renew();
    until("the server knows the new authority", async || {
        (ada.run(&["keys", "list"], b"").code == 0).then_some(())
    })
    .await;
    // Every session is a new one now, and the agent is the one that was there before.
    server.crash_and_restart(&stage);
    ada.rotate("openai", &Secret::fresh());
    agent.until_holding("openai", 2).await;
}
