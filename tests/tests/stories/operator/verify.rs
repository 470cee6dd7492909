//! `keyferry-server verify` finds what is wrong, and says what to do.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use keyferry_tests::{Engine, Guard, Operator, Redis, Server, Stage, on_both_engines};

use super::database::execute;

on_both_engines!(
    the_cache_is_tried_as_servers_use_it,
    a_clock_that_went_back_is_noticed,
    what_no_server_would_start_with_is_not_verified,
);

async fn the_cache_is_tried_as_servers_use_it(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    assert!(server.terminate().success());
    let mut redis = Redis::start_guarded(&stage, Guard::Acl);
    let operator = Operator::of(&stage).with("REDIS_URL", redis.url());
    let seen = operator.ask(&["verify"]);
    let checks = seen["checks"].as_array().into_iter().flatten();
    let told: Vec<_> = checks.filter(|check| check["name"] == "cache").collect();
    assert!(told.len() == 1 && told[0]["ok"] == true, "{seen}");

    let stranger = redis.url().replace("door-key", "another-key");
    let refused = Operator::of(&stage).with("REDIS_URL", &stranger);
    let refused = refused.run(&["verify"], b"");
    assert!(refused.output.contains("✗ cache"), "{}", refused.output);
    redis.kill();
    let away = operator.run(&["verify"], b"");
    assert_eq!(away.code, 1);
    assert!(away.output.contains("✗ cache"), "{}", away.output);
    assert_eq!(away.output.matches('✗').count(), 1, "{}", away.output);
}

async fn what_no_server_would_start_with_is_not_verified(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    assert!(server.terminate().success());
    assert_eq!(Operator::of(&stage).ask(&["verify"])["ok"], true);
    let missing = stage.path("missing.pem");
    let missing = missing.to_string_lossy();
    for (settings, told) in [
        (&[("KEYFERRY_LISTN", "127.0.0.1:1")][..], "KEYFERRY_LISTN"),
        (
            &[
                ("KEYFERRY_TLS_CERT_FILE", &*missing),
                ("KEYFERRY_TLS_KEY_FILE", &*missing),
            ],
            "✗ certificate",
        ),
        (
            &[
                ("KEYFERRY_ALERT_WEBHOOK_URL", "https://alerts.example.org"),
                (
                    "KEYFERRY_ALERT_WEBHOOK_SECRET",
                    "0123456789abcdef0123456789abcdef",
                ),
                ("KEYFERRY_ALERT_CA_FILE", &*missing),
            ],
            "✗ webhook",
        ),
    ] {
        let given = settings
            .iter()
            .fold(Operator::of(&stage), |operator, (name, value)| {
                operator.with(name, value)
            });
        let refused = given.run(&["verify"], b"");
        assert_eq!(refused.code, 1, "{settings:?}");
        let said = format!("{}{}", refused.output, refused.errors);
        assert!(said.contains(told), "{settings:?}: {said}");
    }
}

async fn a_clock_that_went_back_is_noticed(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    assert!(server.terminate().success());
    let operator = Operator::of(&stage);
    assert_eq!(operator.ask(&["verify"])["ok"], true);
    // An event of the year 2100.
    let id = match engine {
        Engine::Sqlite => "randomblob(16)",
        Engine::Postgres => "gen_random_uuid()",
    };
    let event = format!(
        "INSERT INTO audit_events (id, at, actor, action, detail, correlation_id) \
         VALUES ({id}, 4102444800000000, 'anyone', 'auth.login', '{{}}', {id})"
    );
    execute(&stage, &event).await;
    let wrong = operator.run(&["verify"], b"");
    assert_eq!(wrong.code, 1);
    assert!(
        wrong.output.contains("✗ time of events"),
        "{}",
        wrong.output
    );
    assert!(
        wrong.output.contains("ahead of this clock"),
        "{}",
        wrong.output
    );
}
