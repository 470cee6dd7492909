//! What has ended is thrown away, by the servers themselves and by command, and nothing before.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use hyper::Method;
use keyferry_tests::{
    Agent, Browser, Engine, OidcProvider, Operator, PASSWORD, Person, Secret, Server, Stage,
    on_both_engines, until,
};
use serde_json::json;

use crate::closed_accounts::log_in_from;

on_both_engines!(
    what_has_ended_is_swept_by_command,
    what_has_ended_is_swept_by_a_server,
);

async fn what_has_ended_is_swept_by_command(engine: Engine) {
    let (stage, mut server) = stage_with_one_of_each(engine).await;
    assert!(server.terminate().success());
    let swept = Operator::of(&stage).ask(&["sweep"]);
    assert_eq!(swept["sessions_and_tokens"], 0, "nothing has ended yet");
    assert_eq!(swept["tickets_and_versions"], 0);
    assert!(left(&stage).await.iter().all(|(_, count)| *count > 0));
    end_everything(&stage).await;
    let swept = Operator::of(&stage).run(&["sweep"], b"").success();
    assert!(swept.output.starts_with("Swept "), "{}", swept.output);
    for (what, count) in left(&stage).await {
        assert_eq!(count, 0, "{what}");
    }
}

async fn what_has_ended_is_swept_by_a_server(engine: Engine) {
    let (stage, mut server) = stage_with_one_of_each(engine).await;
    assert!(server.terminate().success());
    end_everything(&stage).await;
    server.start_again(&stage);
    until("everything that has ended is gone", async || {
        let left = left(&stage).await;
        left.iter().all(|(_, count)| *count == 0).then_some(())
    })
    .await;
}

/// A database with one of everything that ends.
async fn stage_with_one_of_each(engine: Engine) -> (Stage, Server) {
    let stage = Stage::new(engine).await;
    let mut provider = OidcProvider::start(&stage);
    let server = Server::start(&stage);
    provider.meet(&server);
    let ada = Person::register(&stage, &server, "ada");
    ada.run(&["tenants", "rename", "Engines"], b"").success();
    ada.run(&["invitations", "add", "bob@example.org"], b"")
        .success();
    let change = [
        "account",
        "change",
        "--email",
        "ada@example.org",
        "--password-stdin",
    ];
    ada.run(&change, PASSWORD.as_bytes()).success();
    ada.put("openai", &Secret::fresh());
    let rotate = ["keys", "rotate", "openai", "--overlap", "3600"];
    ada.run(&rotate, Secret::fresh().text().as_bytes())
        .success();
    ada.ticket_for_new_vm("kali-1");
    Agent::enrol(&stage, &ada, "kali-2")
        .await
        .until_it_has("openai")
        .await;
    let waiting = json!({ "agent_key": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc" });
    let path = "/enrolments";
    let asked = server.ask(Method::POST, path, None, Some(waiting)).await;
    assert_eq!(asked.status, 201, "{}", asked.body);
    Operator::of(&stage).run(&["rotate", "jwt"], b"").success();

    Browser::new(&stage, "one", "ada")
        .leave(&format!("{}/auth/providers/corp/start", server.url()));
    ada.set_up_a_second_factor();
    assert_eq!(
        log_in_from(&server, "127.0.0.2", PASSWORD).body["mfa_required"],
        true
    );
    log_in_from(&server, "127.0.0.3", "not-her-password");
    (stage, server)
}

/// Everything has ended long ago.
async fn end_everything(stage: &Stage) {
    for sql in ENDED {
        assert!(stage.change(sql).await > 0, "{sql}");
    }
}

/// How many are left of each kind.
async fn left(stage: &Stage) -> Vec<(&'static str, i64)> {
    let mut left = Vec::new();
    for sql in LEFT {
        left.push((sql, stage.count(sql).await));
    }
    left
}

const ENDED: [&str; 13] = [
    "UPDATE sessions SET expires_at = 1",
    "UPDATE refresh_tokens SET expires_at = 1",
    "UPDATE email_tokens SET expires_at = 1",
    "UPDATE mfa_challenges SET expires_at = 1",
    "UPDATE invitations SET expires_at = 1",
    "UPDATE provider_sign_ins SET expires_at = 1",
    "UPDATE login_failures SET last_at = 1",
    "UPDATE signing_keys SET valid_until = 1 WHERE status = 'previous'",
    "UPDATE tickets SET expires_at = 1",
    "UPDATE reattach_credentials SET status = 'retired', created_at = 1",
    "UPDATE enrolment_requests SET expires_at = 1",
    "UPDATE key_versions SET retire_at = 1 WHERE retire_at IS NOT NULL",
    "UPDATE changes SET at = 1",
];

const LEFT: [&str; 13] = [
    "SELECT COUNT(*) FROM sessions",
    "SELECT COUNT(*) FROM refresh_tokens",
    "SELECT COUNT(*) FROM email_tokens",
    "SELECT COUNT(*) FROM mfa_challenges",
    "SELECT COUNT(*) FROM invitations",
    "SELECT COUNT(*) FROM provider_sign_ins",
    "SELECT COUNT(*) FROM login_failures",
    "SELECT COUNT(*) FROM signing_keys WHERE status = 'previous'",
    "SELECT COUNT(*) FROM tickets",
    "SELECT COUNT(*) FROM reattach_credentials",
    "SELECT COUNT(*) FROM enrolment_requests",
    "SELECT COUNT(*) FROM key_versions WHERE retire_at IS NOT NULL AND destroyed_at IS NULL",
    "SELECT COUNT(*) FROM changes",
];
