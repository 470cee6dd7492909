//! An operator hears of security events at once, through a webhook that may fail.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use aws_lc_rs::hmac;
use keyferry_tests::{
    Engine, Operator, Person, Receiver, Sent, Server, Stage, on_both_engines, until,
};
use serde_json::Value;

on_both_engines!(
    an_alert_is_signed_and_sent_until_it_is_taken,
    an_alert_survives_the_death_of_the_server,
    what_an_operator_does_at_the_shell_is_told_too,
    a_webhook_on_a_private_address_is_not_called_unless_that_is_allowed,
);

const SECRET: &str = "a-secret-of-the-webhook";

/// A server that tells everything to this webhook.
fn start(stage: &Stage, url: &str) -> Server {
    let settings = [
        ("KEYFERRY_ALERT_WEBHOOK_URL", url),
        ("KEYFERRY_ALERT_WEBHOOK_SECRET", SECRET),
        ("KEYFERRY_ALERT_ALLOW_PRIVATE", "true"),
    ];
    Server::start_with(stage, &settings)
}

/// Something that an operator wants to hear of.
fn wipe_a_machine(ada: &Person<'_>) {
    ada.run(&["vms", "add", "kali-1"], b"").success();
    ada.run(&["vms", "wipe", "kali-1"], b"").success();
}

async fn an_alert_is_signed_and_sent_until_it_is_taken(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut webhook = Receiver::start(503).await;
    let server = start(&stage, &webhook.url("/hook?for=keyferry"));
    wipe_a_machine(&Person::register(&stage, &server, "ada"));

    let refused = told_of(&mut webhook, "vm.wipe").await;
    webhook.answer_with(204);
    let taken = told_of(&mut webhook, "vm.wipe").await;
    assert_eq!(refused.body, taken.body, "the same is sent again");
    for sent in [&refused, &taken] {
        let stamp = sent.field("x-keyferry-timestamp");
        let signed = [stamp.as_bytes(), b".", &sent.body].concat();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = hmac::sign(&key, &signed);
        let tag = tag.as_ref().iter().map(|byte| format!("{byte:02x}"));
        let tag: String = tag.collect();
        assert_eq!(sent.field("x-keyferry-signature"), format!("v1={tag}"));
    }
    let alert: Value = serde_json::from_slice(&taken.body).unwrap();
    assert!(
        alert["tenant_id"].is_string() && alert["correlation_id"].is_string(),
        "{alert}"
    );
    nothing_waits(&stage).await;
}

async fn an_alert_survives_the_death_of_the_server(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut webhook = Receiver::start(503).await;
    let mut server = start(&stage, &webhook.url("/hook"));
    wipe_a_machine(&Person::register(&stage, &server, "ada"));
    let before = told_of(&mut webhook, "vm.wipe").await;
    server.kill();
    webhook.so_far();
    webhook.answer_with(204);
    server.start_again(&stage);
    let after = told_of(&mut webhook, "vm.wipe").await;
    let id = |sent: &Sent| serde_json::from_slice::<Value>(&sent.body).unwrap()["id"].clone();
    assert!(id(&before).is_string());
    assert_eq!(id(&before), id(&after), "one event has one id");
    nothing_waits(&stage).await;
}

async fn what_an_operator_does_at_the_shell_is_told_too(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut webhook = Receiver::start(204).await;
    let server = start(&stage, &webhook.url("/hook"));
    Person::register(&stage, &server, "ada");
    let operator = Operator::of(&stage);
    operator.run(&["admin", "disable", "ada"], b"").success();
    let told = told_of(&mut webhook, "operator.disable").await;
    let told: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told["actor"], "operator", "{told}");
}

/// The next one of this kind, whatever it was answered.
async fn told_of(webhook: &mut Receiver, action: &str) -> Sent {
    loop {
        let sent = webhook.next().await;
        let alert: Value = serde_json::from_slice(&sent.body).unwrap();
        if alert["action"] == action {
            return sent;
        }
    }
}

async fn nothing_waits(stage: &Stage) {
    until("every alert is taken", async || {
        let waiting = stage.count("SELECT COUNT(*) FROM pending_alerts").await;
        (waiting == 0).then_some(())
    })
    .await;
}

async fn a_webhook_on_a_private_address_is_not_called_unless_that_is_allowed(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut webhook = Receiver::start(204).await;
    let url = webhook.url("/hook").replace("http://", "https://");
    let settings = [
        ("KEYFERRY_ALERT_WEBHOOK_URL", url.as_str()),
        ("KEYFERRY_ALERT_WEBHOOK_SECRET", SECRET),
    ];
    let server = Server::start_with(&stage, &settings);
    let ada = Person::register(&stage, &server, "ada");
    wipe_a_machine(&ada);
    until("the alert is not sent", async || {
        server
            .log()
            .contains("no address that is allowed")
            .then_some(())
    })
    .await;
    assert!(webhook.so_far().is_empty());
}
