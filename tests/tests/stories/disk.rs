//! No file ever holds a key or a password: not the database, not a log, not a temporary file.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use base64ct::{Base64, Encoding};
use keyferry_tests::{
    Agent, Engine, PASSWORD, Person, Secret, Server, Stage, Tool, on_both_engines,
};
use memscan::{Matcher, Report, Sentinel, scan_tree};

on_both_engines!(no_file_holds_a_key_or_a_password, a_file_that_does_is_found);

async fn no_file_holds_a_key_or_a_password(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
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
    assert_eq!(
        find(&stage, &keys).hits(),
        0,
        "while held: {}",
        find(&stage, &keys)
    );

    agent.kill();
    assert!(server.terminate().success());
    assert_eq!(
        find(&stage, &keys).hits(),
        0,
        "afterwards: {}",
        find(&stage, &keys)
    );
}

async fn a_file_that_does_is_found(engine: Engine) {
    let stage = Stage::new(engine).await;
    let key = [Secret::fresh()];
    let text = key[0].text();
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let copies = [text.to_owned(), hex, Base64::encode_string(text.as_bytes())];
    for (number, copy) in copies.iter().enumerate() {
        std::fs::write(stage.temporary().join(format!("leak-{number}")), copy).unwrap();
        assert_eq!(
            find(&stage, &key).findings().filter(|it| it.whole).count(),
            number + 1
        );
    }
}

fn find(stage: &Stage, keys: &[Secret]) -> Report {
    let mut sentinels: Vec<Sentinel> = keys.iter().map(|key| key.sentinel("key")).collect();
    sentinels.push(Sentinel {
        name: "password".into(),
        bytes: PASSWORD.into(),
    });
    // By chance, a hundred megabytes of random base64 hold eight bytes of a key once in a thousand runs:
    // 3 keys of 41 windows in some ten forms against 64^8.
    let matcher = Matcher::new(&sentinels, 8);
    let mut report = Report::default();
    scan_tree(&matcher, &mut report, stage.folder()).unwrap();
    if let Some(database) = stage.database() {
        scan_tree(&matcher, &mut report, database.folder()).unwrap();
    }
    report
}
