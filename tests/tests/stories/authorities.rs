//! The authorities of the services that the server asks are renewed, and nobody restarts it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use hyper::{Method, StatusCode};
use keyferry_tests::{
    Authority, Engine, MailServer, Operator, PASSWORD, Receiver, Server, Stage, Talk, until,
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_reached_again_once_the_file_of_their_authority_is_right() {
    let stage = Stage::new(Engine::Sqlite).await;
    let right = ["webhook", "collector"].map(|name| stage.path(&format!("{name}-right.pem")));
    let [webhook, collector] = &right;
    let mut webhook = Receiver::start_with_tls(204, webhook).await;
    let mut collector = Receiver::start_with_tls(200, collector).await;
    let mut mails = MailServer::start(&stage, Talk::Starttls);
    let files = ["webhook", "collector", "mail"].map(|name| of_somebody_else(&stage, name));
    let server = start(&stage, (&webhook, &collector, &mails), &files);

    let ada = json!({ "username": "ada", "email": "ada@example.org", "password": PASSWORD });
    let made = server.ask(Method::POST, "/auth/register", None, Some(ada));
    assert_eq!(made.await.status, StatusCode::CREATED);
    let operator = Operator::of(&stage);
    operator.run(&["admin", "disable", "ada"], b"").success();
    for complaint in [
        "an alert was not taken",
        "the collector does not take traces",
        "a mail could not be sent yet",
    ] {
        until(complaint, async || {
            server.log().contains(complaint).then_some(())
        })
        .await;
    }
    assert!(webhook.so_far().is_empty() && collector.so_far().is_empty());

    let mail = stage.path("smtp.pem");
    let [webhook_right, collector_right] = &right;
    for (right, file) in [webhook_right, collector_right, &mail]
        .into_iter()
        .zip(&files)
    {
        std::fs::copy(right, file).unwrap();
    }
    server.ask(Method::GET, "/health", None, None).await;
    assert!(webhook.next().await.head.starts_with("POST /hook "));
    assert!(collector.next().await.head.starts_with("POST /v1/traces "));
    assert_eq!(mails.next_mail()["to"], json!(["ada@example.org"]));
}

fn start(
    stage: &Stage,
    (webhook, collector, mails): (&Receiver, &Receiver, &MailServer),
    files: &[PathBuf; 3],
) -> Server {
    let urls = (webhook.url("/hook"), collector.url(""));
    let [of_webhook, of_collector, of_mail] = files.each_ref().map(|path| path.to_str().unwrap());
    let mut settings = mails.settings();
    settings.retain(|(name, _)| *name != "SMTP_CA_FILE");
    settings.extend([
        ("SMTP_CA_FILE", of_mail),
        ("KEYFERRY_ALERT_WEBHOOK_URL", urls.0.as_str()),
        ("KEYFERRY_ALERT_WEBHOOK_SECRET", "a-secret-of-the-webhook"),
        ("KEYFERRY_ALERT_ALLOW_PRIVATE", "true"),
        ("KEYFERRY_ALERT_CA_FILE", of_webhook),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", urls.1.as_str()),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", of_collector),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ]);
    Server::start_with(stage, &settings)
}

/// A file with an authority that has certified nobody here.
fn of_somebody_else(stage: &Stage, name: &str) -> PathBuf {
    let path = stage.path(&format!("{name}-authority.pem"));
    std::fs::write(&path, Authority::new().pem()).unwrap();
    path
}
