//! No file ever holds a key or a password: not the database, not a log, not a temporary file.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use base64ct::{Base64, Encoding};
use hyper::{Method, StatusCode};
use keyferry_tests::{
    Agent, Engine, PASSWORD, Person, Secret, Server, Stage, Tool, on_both_engines,
};
use memscan::{Matcher, Report, Sentinel, scan_tree};
use secrecy::SecretString;
use serde_json::json;

on_both_engines!(no_file_holds_a_key_or_a_password, a_file_that_does_is_found);

async fn no_file_holds_a_key_or_a_password(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start_with(&stage, &[("KEYFERRY_LOG", "debug")]);
    let ada = Person::register(&stage, &server, "ada");
    let keys: Vec<Secret> = (0..3).map(|_| Secret::fresh()).collect();
    ada.put("sealed", &keys[0]);
    let mut agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let mut tool = Tool::open(&stage, &agent, "sealed").await;
    assert_eq!(tool.next_event()["event"], "live");
    ada.rotate("sealed", &keys[1]);
    assert_eq!(tool.next_event()["version"], 2);
    ada.put("another", &keys[2]);
    agent.until_holding("another", 1).await;
    let mut secrets: Vec<Sentinel> = keys.iter().map(|key| key.sentinel("key")).collect();
    secrets.extend(by_plain_requests(&server).await);
    agent.until_holding("plain", 1).await;
    assert!(
        server.log().contains("DEBUG sqlx::query"),
        "the log tells everything"
    );
    let secrets = matcher(secrets);
    let held = find(&stage, &secrets);
    assert_eq!(held.hits(), 0, "while held: {held}");

    agent.kill();
    assert!(server.terminate().success());
    let afterwards = find(&stage, &secrets);
    assert_eq!(afterwards.hits(), 0, "afterwards: {afterwards}");
}

/// Stores a key in plain JSON, and is refused for a wrong password; all that was secret in it.
async fn by_plain_requests(server: &Server) -> Vec<Sentinel> {
    let wrong = Secret::fresh();
    let login = json!({ "username": "ada", "password": wrong.text() });
    let refused = server.ask(Method::POST, "/auth/login", None, Some(login));
    assert_eq!(refused.await.status, StatusCode::UNAUTHORIZED);
    let login = json!({ "username": "ada", "password": PASSWORD });
    let session = server.ask(Method::POST, "/auth/login", None, Some(login));
    let session = session.await.success().unwrap();
    let token = |name: &str| session[name].as_str().unwrap().to_owned();
    let bearer: SecretString = token("session_token").into();
    let key = Secret::fresh();
    let body = json!({ "provider": "custom", "value": key.text() });
    let stored = server.ask(Method::PUT, "/keys/plain", Some(&bearer), Some(body));
    stored.await.success().unwrap();
    let token = |name: &str| Sentinel {
        name: name.to_owned(),
        bytes: token(name).into_bytes(),
    };
    vec![
        wrong.sentinel("wrong password"),
        key.sentinel("plain key"),
        token("session_token"),
        token("refresh_token"),
    ]
}

async fn a_file_that_does_is_found(engine: Engine) {
    let stage = Stage::new(engine).await;
    let key = Secret::fresh();
    let text = key.text();
    let secrets = matcher(vec![key.sentinel("key")]);
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let copies = [text.to_owned(), hex, Base64::encode_string(text.as_bytes())];
    for (number, copy) in copies.iter().enumerate() {
        std::fs::write(stage.temporary().join(format!("leak-{number}")), copy).unwrap();
        assert_eq!(
            find(&stage, &secrets)
                .findings()
                .filter(|it| it.whole)
                .count(),
            number + 1
        );
    }
}

/// Looks for the password of everybody too.
fn matcher(mut secrets: Vec<Sentinel>) -> Matcher {
    secrets.push(Sentinel {
        name: "password".into(),
        bytes: PASSWORD.into(),
    });
    // By chance, a hundred megabytes of random base64 hold eight bytes of a secret once in a
    // thousand runs: a few secrets of 41 windows in some ten forms against 64^8.
    Matcher::new(&secrets, 8)
}

fn find(stage: &Stage, matcher: &Matcher) -> Report {
    let mut report = Report::default();
    scan_tree(matcher, &mut report, stage.folder()).unwrap();
    if let Some(database) = stage.database() {
        scan_tree(matcher, &mut report, database.folder()).unwrap();
    }
    report
}
