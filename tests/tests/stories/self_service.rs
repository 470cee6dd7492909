//! One's own account on the command line: second factors, API keys, mails and the end of it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_tests::{Engine, PASSWORD, Person, Server, Stage, on_both_engines};
use serde_json::Value;

on_both_engines!(
    a_second_factor_is_set_up_used_and_removed,
    an_account_is_verified_changed_exported_and_closed,
    a_forgotten_password_is_replaced,
    a_programs_key_is_made_listed_and_revoked,
    a_person_signs_out_everywhere_and_forgets_a_device,
);

const NEW: &str = "Copper-Meadow-4-Whistle";

async fn a_second_factor_is_set_up_used_and_removed(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let guess = ada.run(&["mfa", "start"], b"a guess");
    assert!(
        guess.errors.contains("current_password"),
        "{}",
        guess.errors
    );
    let codes = ada.set_up_a_second_factor();
    let recovery = |place: usize| codes[place].clone();
    let status = ada.run(&["mfa", "status"], b"").success().output;
    assert!(status.contains("an authenticator app, 10"), "{status}");

    ada.run(&["logout"], b"").success();
    let alone = ada.try_to_log_in(&server, "ada", PASSWORD.as_bytes());
    assert_eq!(alone.code, 3, "{}", alone.errors);
    let both = format!("{PASSWORD}\n{}", recovery(0));
    ada.try_to_log_in(&server, "ada", both.as_bytes()).success();
    let again = ada.try_to_log_in(&server, "ada", both.as_bytes());
    assert_eq!(again.code, 3, "a recovery code counted twice");

    let renewed = ada.run(&["--json", "mfa", "recovery-codes"], recovery(1).as_bytes());
    let renewed: Value = serde_json::from_str(&renewed.success().output).unwrap();
    assert_eq!(renewed["recovery_codes"].as_array().unwrap().len(), 10);
    assert_eq!(
        ada.run(&["mfa", "remove"], recovery(2).as_bytes()).code,
        3,
        "an old code"
    );
    let good = renewed["recovery_codes"][0].as_str().unwrap();
    ada.run(&["mfa", "remove"], good.as_bytes()).success();
    ada.log_in(&server, "ada");
}

async fn an_account_is_verified_changed_exported_and_closed(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = with_address(&stage, &server);
    let token = stage.mailed_token("kfe_").await;
    ada.run(&["account", "verify"], token.as_bytes()).success();
    let again = ada.run(&["account", "verify"], token.as_bytes());
    assert_eq!(again.code, 1);
    assert!(again.errors.contains("used before"), "{}", again.errors);
    let resend = ["account", "resend", "ada@example.org"];
    ada.run(&resend, b"").success();

    let change = ["account", "change", "--full-name", "Ada L."];
    assert_eq!(ada.ask(&change)["full_name"], "Ada L.");
    let change = [
        "account",
        "change",
        "--email",
        "ada@example.com",
        "--password-stdin",
    ];
    assert_eq!(ada.run(&change, b"wrong").code, 1);
    ada.run(&change, PASSWORD.as_bytes()).success();
    let export = ada.ask(&["account", "export"]);
    assert_eq!(export["account"]["email"], "ada@example.com");
    assert_eq!(export["account"]["email_verified"], false);
    assert!(!export.to_string().contains(PASSWORD) && !export.to_string().contains("kfs_"));

    let close = ["account", "close", "--password-stdin"];
    assert_eq!(ada.run(&close, b"wrong").code, 1);
    ada.run(&close, PASSWORD.as_bytes()).success();
    assert!(!ada.session_file().exists());
    let gone = ada.try_to_log_in(&server, "ada", PASSWORD.as_bytes());
    assert_eq!(gone.code, 3);
}

async fn a_person_signs_out_everywhere_and_forgets_a_device(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let desk = Person::register(&stage, &server, "ada");
    let sofa = Person::sign_in(&stage, (&server, "sofa"), "ada");
    desk.run(&["logout", "--everywhere"], b"").success();
    assert!(!desk.session_file().exists());
    assert_eq!(sofa.run(&["keys", "list"], b"").code, 3);
    let too_late = sofa.run(&["logout", "--everywhere"], b"");
    assert_eq!(too_late.code, 3, "{}", too_late.output);
    sofa.run(&["logout"], b"").success();

    desk.log_in(&server, "ada");
    let devices = desk.ask(&["devices", "list"]);
    let devices = devices["items"].as_array().unwrap();
    assert_eq!(
        (devices.len(), &devices[0]["user_agent"]),
        (1, &"keyferry".into())
    );
    let id = devices[0]["id"].as_str().unwrap();
    desk.run(&["devices", "forget", id], b"").success();
    assert_eq!(
        desk.run(&["keys", "list"], b"").code,
        3,
        "its sessions ended"
    );
    desk.log_in(&server, "ada");
    assert_eq!(desk.run(&["devices", "forget", id], b"").code, 4);
}

async fn a_forgotten_password_is_replaced(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = with_address(&stage, &server);
    let verify = stage.mailed_token("kfe_").await;
    ada.run(&["account", "verify"], verify.as_bytes()).success();
    stage.forget_mails();
    ada.run(&["password", "forgot", "ada@example.org"], b"")
        .success();
    let token = stage.mailed_token("kfe_").await;
    let reset = ["password", "reset", "--password-stdin"];
    let weak = ada.run(&reset, format!("{token}\nabc123").as_bytes());
    assert_eq!(weak.code, 1);
    assert!(weak.errors.contains("new_password"), "{}", weak.errors);
    ada.run(&reset, format!("{token}\n{NEW}").as_bytes())
        .success();
    assert_eq!(
        ada.run(&["keys", "list"], b"").code,
        3,
        "the session went on"
    );
    let old = ada.try_to_log_in(&server, "ada", PASSWORD.as_bytes());
    assert_eq!(old.code, 3);
    ada.try_to_log_in(&server, "ada", NEW.as_bytes()).success();
}

async fn a_programs_key_is_made_listed_and_revoked(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let add = ["api-keys", "add", "backup", "--permission", "vault:read"];
    let add = [&add[..], &["--expires-in-days", "7"]].concat();
    let printed = ada.run(&add, b"").success().output;
    let key = printed.trim();
    assert!(
        key.starts_with("kf_") && !key.contains('\n'),
        "more than the key is printed"
    );
    let key = key.into();
    assert_eq!(
        server
            .ask(Method::GET, "/keys", Some(&key), None)
            .await
            .status,
        200
    );
    let vms = server.ask(Method::GET, "/vms", Some(&key), None).await;
    assert_eq!(vms.status, 403);
    let listed = ada.ask(&["api-keys", "list"]);
    assert_eq!(listed["items"][0]["name"], "backup");
    let id = listed["items"][0]["id"].as_str().unwrap();
    ada.run(&["api-keys", "revoke", id], b"").success();
    assert_eq!(
        server
            .ask(Method::GET, "/keys", Some(&key), None)
            .await
            .status,
        401
    );
    let none = ada.run(&["api-keys", "list"], b"").success().output;
    assert!(none.contains("no API keys"), "{none}");
}

/// Somebody with an e-mail address, signed in.
fn with_address<'a>(stage: &'a Stage, server: &Server) -> Person<'a> {
    let ada = Person::new(stage, "ada");
    let register = [
        "register",
        "--username",
        "ada",
        "--email",
        "ada@example.org",
    ];
    let contact = [
        "--server",
        server.url(),
        "--fingerprint",
        server.fingerprint(),
    ];
    let register = [&register[..], &contact, &["--password-stdin"]].concat();
    ada.run(&register, PASSWORD.as_bytes()).success();
    ada
}
