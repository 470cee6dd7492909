//! A team on the command line: tenants, members, invitations, roles and plans.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{Engine, Operator, PASSWORD, Person, Server, Stage, on_both_engines};

on_both_engines!(
    somebody_is_invited_works_and_is_sent_away,
    a_tenant_is_made_renamed_and_not_left_without_an_owner,
    a_second_tenant_is_made_on_the_command_line_and_worked_in,
);

async fn somebody_is_invited_works_and_is_sent_away(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let bob = Person::register(&stage, &server, "bob");
    ada.run(&["tenants", "rename", "Engines"], b"").success();
    let put = ["roles", "put", "coder", "--permission", "vault:read"];
    let put = [&put[..], &["--permission", "code:generate"]].concat();
    assert_eq!(ada.ask(&put)["permissions"][0], "code:generate");

    let invite = ["invitations", "add", "bob@example.org", "--role", "coder"];
    ada.run(&invite, b"").success();
    let open = ada.ask(&["invitations", "list"]);
    assert_eq!(open["items"][0]["email"], "bob@example.org");
    let token = stage.mailed_token("kfi_").await;
    let wrong = bob.run(&["invitations", "accept"], b"kfi_none");
    assert_eq!(wrong.code, 4, "{}", wrong.errors);
    let joined = bob
        .run(&["invitations", "accept"], token.as_bytes())
        .success();
    assert!(
        joined.output.contains("coder of Engines"),
        "{}",
        joined.output
    );

    bob.run(&["tenants", "enter", "engines"], b"").success();
    assert_eq!(bob.ask(&["tenants", "show"])["role"], "coder");
    bob.run(&["keys", "list"], b"").success();
    let refused = bob.run(&["vms", "add", "kali"], b"");
    assert_eq!(refused.code, 1);
    assert!(
        refused.errors.contains("does not permit"),
        "{}",
        refused.errors
    );
    let used = ada.run(&["roles", "delete", "coder"], b"");
    assert!(
        used.errors.contains("still have this role"),
        "{}",
        used.errors
    );

    let changed = ada.ask(&["members", "set-role", "BOB", "member"]);
    assert_eq!(changed["role"], "member");
    bob.run(&["vms", "add", "kali"], b"").success();
    ada.run(&["roles", "delete", "coder"], b"").success();
    let members = ada.run(&["members", "list"], b"").success().output;
    assert!(
        members.contains("bob") && members.contains("ada"),
        "{members}"
    );
    ada.run(&["members", "remove", "bob"], b"").success();
    assert_eq!(bob.run(&["keys", "list"], b"").code, 3);
    let nobody = ada.run(&["members", "remove", "bob"], b"");
    assert_eq!(nobody.code, 4);
    assert!(
        nobody.errors.contains("keyferry members list"),
        "{}",
        nobody.errors
    );
}

async fn a_tenant_is_made_renamed_and_not_left_without_an_owner(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let plans = ada.run(&["plans"], b"").success().output;
    for plan in ["free", "developer", "pro", "enterprise"] {
        assert!(plans.contains(plan), "{plans}");
    }
    let roles = ada.ask(&["roles", "list"]);
    assert_eq!(roles["items"].as_array().unwrap().len(), 4);
    let last = ada.run(&["tenants", "leave"], b"");
    assert_eq!(last.code, 1);
    assert!(last.errors.contains("owner"), "{}", last.errors);
    ada.run(&["invitations", "add", "eve@example.org"], b"")
        .success();
    ada.run(&["invitations", "withdraw", "eve@example.org"], b"")
        .success();
    let none = ada.run(&["invitations", "list"], b"").success().output;
    assert!(none.contains("no open invitations"), "{none}");
    let login = ["login", "--username", "ada", "--password-stdin"];
    ada.run(&login, PASSWORD.as_bytes()).success();
    assert_eq!(
        ada.ask(&["tenants", "list"])["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

async fn a_second_tenant_is_made_on_the_command_line_and_worked_in(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let add = ["tenants", "add", "Second"];
    let refused = ada.run(&add, b"");
    assert!(refused.errors.contains("plan"), "{}", refused.errors);
    let plan = ["admin", "plan", "ada", "developer"];
    Operator::of(&stage).run(&plan, b"").success();
    let made = ada.run(&add, b"").success().output;
    assert!(
        made.contains("Second") && made.contains("keyferry tenants enter"),
        "{made}"
    );
    ada.run(&["tenants", "enter", "second"], b"").success();
    let here = ada.ask(&["tenants", "show"]);
    assert_eq!(
        (&here["name"], &here["role"], &here["plan"]),
        (&"Second".into(), &"owner".into(), &"free".into())
    );
    ada.run(&["vms", "add", "kali"], b"").success();
    ada.run(&["tenants", "enter", "ada"], b"").success();
    let machines = ada.ask(&["vms", "list"]);
    assert_eq!(machines["items"].as_array().unwrap().len(), 0);
    let both = ada.ask(&["tenants", "list"]);
    assert_eq!(both["items"].as_array().unwrap().len(), 2);
}
