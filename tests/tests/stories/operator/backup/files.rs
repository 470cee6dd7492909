//! The files that a backup writes and a restore reads.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use keyferry_tests::{Engine, Operator, Person, Server, Stage, on_both_engines};
use serde_json::Value;

use super::Elsewhere;

on_both_engines!(
    a_backup_that_is_damaged_or_not_ours_is_refused,
    what_writes_one_file_at_once_or_was_killed_leaves_one_whole_file,
);

async fn a_backup_that_is_damaged_or_not_ours_is_refused(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    let operator = Operator::of(&stage);
    for (name, more) in [("plain", &[][..]), ("sealed", &["--seal"])] {
        let file = stage.path(name);
        let path = file.to_str().unwrap();
        operator
            .run(&[&["backup", path][..], more].concat(), b"")
            .success();
        let again = operator.run(&["backup", path], b"");
        assert!(
            again.errors.contains("is there already"),
            "{}",
            again.errors
        );
        let whole = std::fs::read(&file).unwrap();
        // Long enough to be in no ciphertext by chance.
        let registered = b"auth.register".as_slice();
        let readable = whole.windows(13).any(|window| window == registered);
        assert_eq!(readable, name == "plain");
        let there = Elsewhere::new(&stage, engine, &format!("for-{name}")).await;
        let refused = |bytes: &[u8], said: &str| {
            std::fs::write(&file, bytes).unwrap();
            let refused = there.restore(&file);
            assert!(refused.errors.contains(said), "{said}: {}", refused.errors);
        };
        refused(&whole[..whole.len() - 1], "damaged");
        let mut flipped = whole.clone();
        flipped[whole.len() - 40] ^= 1;
        refused(&flipped, "damaged");
        refused(&[b'x'; 100], "not a Keyferry backup");
        std::fs::write(there.data_dir.join("master.key"), "A".repeat(43)).unwrap();
        refused(&whole, "not the master key");
        std::fs::remove_dir_all(&there.data_dir).unwrap();
        refused(&whole, "not the master key");
        assert!(!there.data_dir.exists(), "nothing was made");
    }
}

async fn what_writes_one_file_at_once_or_was_killed_leaves_one_whole_file(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    let operator = Operator::of(&stage);
    let (file, events) = (stage.path("backup"), stage.path("events"));
    let (file, events) = (file.to_str().unwrap(), events.to_str().unwrap());
    for command in [
        &["backup", file][..],
        &["audit", "export", "--output", events],
    ] {
        let file = Path::new(command.last().unwrap());
        let draft = file.with_added_extension("part");
        // One that is under way holds its draft, and one that was killed leaves it.
        let other = std::fs::File::create(&draft).unwrap();
        other.set_len(1 << 20).unwrap();
        other.lock().unwrap();
        let refused = operator.run(command, b"");
        assert!(refused.errors.contains("is under way"), "{refused:?}");
        assert!(!file.exists());
        drop(other);
        operator.run(command, b"").success();
        assert!(!draft.exists());
    }
    let whole = std::fs::read_to_string(events).unwrap();
    let parsed = whole.lines().map(serde_json::from_str::<Value>);
    assert!(!parsed.collect::<Result<Vec<_>, _>>().unwrap().is_empty());
    let there = Elsewhere::new(&stage, engine, "elsewhere").await;
    there.restore(Path::new(file)).success();
}
