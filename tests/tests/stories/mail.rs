//! Verification and reset, through a real mail server.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::{Method, StatusCode};
use keyferry_cli::rest::Answer;
use keyferry_tests::{
    Engine, MailServer, PASSWORD, Person, Server, Stage, Talk, on_both_engines, token_in, until,
};
use serde_json::{Value, json};

on_both_engines!(
    an_address_is_verified_by_the_mailed_token,
    a_forgotten_password_is_reset_by_the_mailed_token,
    without_a_mail_server_mails_are_files_in_the_outbox,
    a_mail_server_that_is_not_trusted_gets_no_mail,
    a_new_account_that_waits_for_its_mail_is_no_failure,
);

const MAIL: &str = "ada@example.org";
const NEW: &str = "Copper-Meadow-4-Whistle";

async fn an_address_is_verified_by_the_mailed_token(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut mails = MailServer::start(&stage, Talk::Starttls);
    let mut settings = mails.settings();
    settings.push(("AUTH_ENABLE_EMAIL_VERIFICATION", "true"));
    settings.push(("KEYFERRY_PUBLIC_URL", "https://keys.example.org"));
    let server = Server::start_with(&stage, &settings);
    let made = register(&server).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert!(made.body.get("access_token").is_none());
    let early = login(&server, PASSWORD).await;
    assert_eq!(
        (early.status, &early.body["code"]),
        (StatusCode::FORBIDDEN, &json!("email_unverified"))
    );

    let mail = mails.next_mail();
    assert_eq!(
        (&mail["tls"], &mail["login"]),
        (&json!(true), &json!("keyferry"))
    );
    assert_eq!(mail["from"], "keyferry@example.org");
    assert_eq!(mail["to"], json!([MAIL]));
    let text = mail["text"].as_str().unwrap();
    for line in [
        "\n    keyferry account verify --server https://keys.example.org\n",
        " POST https://keys.example.org/auth/email/verify:\n",
    ] {
        assert!(text.replace('\r', "").contains(line), "{text}");
    }
    let body = json!({ "token": token_in(text) });
    let verified = post(&server, "/auth/email/verify", body.clone()).await;
    assert_eq!(verified.status, StatusCode::NO_CONTENT);
    let again = post(&server, "/auth/email/verify", body).await;
    assert_eq!(again.body["code"], "invalid_token");
    let late = login(&server, PASSWORD).await;
    assert_eq!(late.status, StatusCode::OK);
    assert_eq!(late.body["user"]["email_verified"], true);
}

async fn a_forgotten_password_is_reset_by_the_mailed_token(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut mails = MailServer::start(&stage, Talk::Plain);
    let server = Server::start_with(&stage, &mails.settings());
    let session = register(&server).await.body;
    mails.next_mail();
    let told = r#"{"message":"If this address can be helped, a mail is on its way."}"#;
    for email in ["eve@example.org", MAIL] {
        let asked = post(&server, "/auth/password/forgot", json!({ "email": email })).await;
        assert_eq!(
            (asked.status, asked.body.to_string()),
            (StatusCode::ACCEPTED, told.to_owned())
        );
    }
    let token = mails.next_token();
    let body = json!({ "token": token, "new_password": NEW });
    let reset = post(&server, "/auth/password/reset", body).await;
    assert_eq!(reset.status, StatusCode::NO_CONTENT);
    assert_eq!(
        login(&server, PASSWORD).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(login(&server, NEW).await.status, StatusCode::OK);
    let old = session["access_token"].as_str().unwrap().into();
    let me = server.ask(Method::GET, "/auth/me", Some(&old), None).await;
    assert_eq!(me.status, StatusCode::UNAUTHORIZED);
}

async fn without_a_mail_server_mails_are_files_in_the_outbox(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    register(&server).await;
    let outbox = stage.data_dir().join("outbox");
    let text = until("a mail lies in the outbox", async || {
        let files = std::fs::read_dir(&outbox).ok()?.flatten();
        let mut paths = files.map(|entry| entry.path());
        let path = paths.find(|path| path.extension().is_some_and(|end| end == "eml"))?;
        std::fs::read_to_string(path).ok()
    })
    .await;
    let body = json!({ "token": token_in(&text) });
    let verified = post(&server, "/auth/email/verify", body).await;
    assert_eq!(verified.status, StatusCode::NO_CONTENT);
}

async fn a_mail_server_that_is_not_trusted_gets_no_mail(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mails = MailServer::start(&stage, Talk::Starttls);
    let settings: Vec<_> = mails
        .settings()
        .into_iter()
        .filter(|(name, _)| *name != "SMTP_CA_FILE")
        .collect();
    let server = Server::start_with(&stage, &settings);
    let made = register(&server).await;
    assert_eq!(made.status, StatusCode::CREATED);
    until("the server has tried", async || {
        server
            .log()
            .contains("a mail could not be sent yet")
            .then_some(())
    })
    .await;
    assert!(!server.log().contains("kfe_"), "a token is in the log");
}

async fn a_new_account_that_waits_for_its_mail_is_no_failure(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start_with(&stage, &[("AUTH_ENABLE_EMAIL_VERIFICATION", "true")]);
    let ada = Person::new(&stage, "ada");
    let contact = [
        "--server",
        server.url(),
        "--fingerprint",
        server.fingerprint(),
    ];
    let account = ["register", "--email", MAIL, "--password-stdin"];
    let made = ada.run(&[&account[..], &contact].concat(), PASSWORD.as_bytes());
    let told = made.success().output;
    let next = format!("keyferry account verify {}", contact.join(" "));
    assert!(told.contains(&next), "{told}");
    assert!(!ada.session_file().exists());

    let token = stage.mailed_token("kfe_").await;
    let verify = [&["account", "verify"], &contact[..]].concat();
    ada.run(&verify, token.as_bytes()).success();
    let login = ["login", "--username", MAIL, "--password-stdin"];
    let login = [&login[..], &contact].concat();
    ada.run(&login, PASSWORD.as_bytes()).success();
}

async fn register(server: &Server) -> Answer {
    let body = json!({ "username": "ada", "email": MAIL, "password": PASSWORD });
    post(server, "/auth/register", body).await
}

async fn login(server: &Server, password: &str) -> Answer {
    let body = json!({ "email": MAIL, "password": password });
    post(server, "/auth/login", body).await
}

async fn post(server: &Server, path: &str, body: Value) -> Answer {
    server.ask(Method::POST, path, None, Some(body)).await
}
