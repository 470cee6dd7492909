//! Long commands tell somebody who looks what they do, and nobody else.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use keyferry_tests::{Engine, Operator, Person, Server, Stage, on_both_engines};

on_both_engines!(long_commands_tell_what_they_do_at_a_terminal_alone);

async fn long_commands_tell_what_they_do_at_a_terminal_alone(engine: Engine) {
    let stage = Stage::empty(engine).await;
    if engine == Engine::Sqlite {
        std::fs::create_dir(stage.data_dir()).unwrap();
        std::fs::File::create(stage.data_dir().join("keyferry.db")).unwrap();
    }
    let migrate = (&["migrate"][..], "bringing the schema up to date");
    tells(&stage, migrate);

    let mut server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    assert!(server.terminate().success());
    let prune = &["audit", "prune", "--older-than-days", "0"][..];
    for (command, told) in [
        (&["sweep"][..], "sweeping sessions and tokens"),
        (&["sweep"], "sweeping tickets, credentials and versions"),
        (prune, "looking for old events"),
    ] {
        tells(&stage, (command, told));
        let piped = Operator::of(&stage).run(command, b"").success();
        assert_eq!(piped.errors, "", "{command:?}");
    }
}

fn tells(stage: &Stage, (command, told): (&[&str], &str)) {
    let mut looked_at = Operator::of(stage).at_a_terminal(command);
    looked_at.shows(told);
    let (code, screen) = looked_at.ends();
    assert_eq!(code, 0, "{screen}");
}
