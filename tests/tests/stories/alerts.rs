//! An operator hears of security events at once, through a webhook that may fail.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use aws_lc_rs::hmac;
use keyferry_tests::{Engine, Person, Server, Stage, on_both_engines, until};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

on_both_engines!(
    an_alert_is_signed_and_sent_until_it_is_taken,
    a_webhook_on_a_private_address_is_not_called_unless_that_is_allowed,
);

const SECRET: &str = "a-secret-of-the-webhook";

async fn an_alert_is_signed_and_sent_until_it_is_taken(engine: Engine) {
    let stage = Stage::new(engine).await;
    let (url, mut received) = webhook().await;
    let settings = [
        ("KEYFERRY_ALERT_WEBHOOK_URL", url.as_str()),
        ("KEYFERRY_ALERT_WEBHOOK_SECRET", SECRET),
        ("KEYFERRY_ALERT_ALLOW_PRIVATE", "true"),
    ];
    let server = Server::start_with(&stage, &settings);
    let ada = Person::register(&stage, &server, "ada");
    ada.run(&["vms", "add", "kali-1"], b"").success();
    ada.run(&["vms", "wipe", "kali-1"], b"").success();

    let refused = received.recv().await.unwrap();
    let taken = received.recv().await.unwrap();
    assert_eq!(refused.body, taken.body, "the same is sent again");
    for sent in [&refused, &taken] {
        let stamp = sent.field("x-keyferry-timestamp");
        let signed = [stamp.as_bytes(), b".", &sent.body].concat();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = hmac::sign(&key, &signed);
        let tag: String = tag
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(sent.field("x-keyferry-signature"), format!("v1={tag}"));
    }
    let alert: Value = serde_json::from_slice(&taken.body).unwrap();
    assert_eq!(alert["action"], "vm.wipe");
    assert!(
        alert["tenant_id"].is_string() && alert["correlation_id"].is_string(),
        "{alert}"
    );
}

async fn a_webhook_on_a_private_address_is_not_called_unless_that_is_allowed(engine: Engine) {
    let stage = Stage::new(engine).await;
    let (url, mut received) = webhook().await;
    let url = url.replace("http://", "https://");
    let settings = [
        ("KEYFERRY_ALERT_WEBHOOK_URL", url.as_str()),
        ("KEYFERRY_ALERT_WEBHOOK_SECRET", SECRET),
    ];
    let server = Server::start_with(&stage, &settings);
    let ada = Person::register(&stage, &server, "ada");
    ada.run(&["vms", "add", "kali-1"], b"").success();
    ada.run(&["vms", "wipe", "kali-1"], b"").success();
    until("the alert is not sent", async || {
        server
            .log()
            .contains("no address that is allowed")
            .then_some(())
    })
    .await;
    assert!(received.try_recv().is_err());
}

/// What came to the webhook.
struct Sent {
    head: String,
    body: Vec<u8>,
}

impl Sent {
    fn field(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.unwrap().1
    }
}

/// Refuses the first request, and takes all others.
async fn webhook() -> (String, UnboundedReceiver<Sent>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/hook?for=keyferry",
        listener.local_addr().unwrap()
    );
    let (sender, received) = unbounded_channel();
    tokio::spawn(async move {
        let mut status = "503 Service Unavailable";
        while let Ok((stream, _)) = listener.accept().await {
            let Some(sent) = answer(stream, status).await else {
                continue;
            };
            status = "204 No Content";
            if sender.send(sent).is_err() {
                return;
            }
        }
    });
    (url, received)
}

async fn answer(mut stream: TcpStream, status: &str) -> Option<Sent> {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut piece = [0; 4096];
        let count = stream
            .read(&mut piece)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.to_ascii_lowercase();
        let length = length
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length?.parse().ok()? {
            break (head.to_owned(), body.as_bytes().to_vec());
        }
    };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.ok()?;
    Some(Sent { head, body })
}
