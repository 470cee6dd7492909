//! Admins of the server, signed in as any person is.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_tests::{Engine, Operator, PASSWORD, Person, Server, Stage, curl, on_both_engines};
use secrecy::SecretString;
use serde_json::{Value, json};

on_both_engines!(
    an_admin_closes_and_opens_accounts,
    an_admin_sees_what_there_is_and_puts_tenants_on_plans,
    an_admin_finds_accounts_and_tenants_by_a_part_of_a_name,
    an_admin_changes_what_a_plan_allows,
);

async fn an_admin_closes_and_opens_accounts(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let root = admin(&stage, &server);
    assert_eq!(root.ask(&["admin", "disable", "ada"])["status"], "disabled");
    assert_eq!(ada.run(&["keys", "list"], b"").code, 3);
    let login = ["login", "--username", "ada", "--password-stdin"];
    assert_eq!(ada.run(&login, PASSWORD.as_bytes()).code, 3);
    assert_eq!(root.ask(&["admin", "enable", "ADA"])["status"], "active");
    ada.run(&login, PASSWORD.as_bytes()).success();
    root.run(&["admin", "unlock", "ada"], b"").success();

    let own = root.run(&["admin", "disable", "root"], b"");
    assert!(own.errors.contains("your own account"), "{}", own.errors);
    let nobody = root.run(&["admin", "user", "../stats"], b"");
    assert_eq!(nobody.code, 4, "{}", nobody.errors);
    let unreachable = root.run(&["admin", "reset-password", "ada"], b"");
    assert!(
        unreachable.errors.contains("no e-mail address"),
        "{}",
        unreachable.errors
    );
    let change = [
        "account",
        "change",
        "--email",
        "o'brien@example.org",
        "--password-stdin",
    ];
    ada.run(&change, PASSWORD.as_bytes()).success();
    stage.mailed_token("kfe_").await;
    stage.forget_mails();
    root.run(&["admin", "reset-password", "o'brien@example.org"], b"")
        .success();
    let reset = ["password", "reset", "--password-stdin"];
    let answer = format!(
        "{}\nCopper-Meadow-4-Whistle",
        stage.mailed_token("kfe_").await
    );
    ada.run(&reset, answer.as_bytes()).success();
    ada.run(&login, b"Copper-Meadow-4-Whistle").success();
}

async fn an_admin_sees_what_there_is_and_puts_tenants_on_plans(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.run(&["tenants", "rename", "Engines"], b"").success();
    let root = admin(&stage, &server);
    let users = root.ask(&["admin", "users"]);
    let users = users["items"].as_array().unwrap().iter();
    let names: Vec<_> = users.map(|user| &user["username"]).collect();
    assert_eq!(names, ["ada", "root"]);
    assert_eq!(root.ask(&["admin", "user", "root"])["server_admin"], true);
    let stats = root.ask(&["admin", "stats"]);
    assert_eq!(
        (&stats["users"], &stats["server_admins"]),
        (&2.into(), &1.into())
    );
    root.run(&["admin", "plan", "Engines", "pro"], b"")
        .success();
    assert_eq!(ada.ask(&["tenants", "show"])["plan"], "pro");
    let tenants = root.run(&["admin", "tenants"], b"").success().output;
    assert!(
        tenants.contains("Engines") && tenants.contains("pro"),
        "{tenants}"
    );
    let unknown = root.run(&["admin", "plan", "Engines", "gold"], b"");
    assert!(unknown.errors.contains("plan"), "{}", unknown.errors);
    for command in [
        &["admin", "users"][..],
        &["admin", "stats"],
        &["admin", "tenants"],
    ] {
        let refused = ada.run(command, b"");
        assert_eq!(refused.code, 1, "{command:?}: {}", refused.output);
    }
}

async fn an_admin_finds_accounts_and_tenants_by_a_part_of_a_name(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let root = admin(&stage, &server);
    for (name, mail, full_name) in [
        ("ada_1", "one@example.org", "Ada ÄRGER-Ünal"),
        ("ada-2", "two@example.org", "Bob of Ada"),
        ("carl", "carl@example.com", "100% Carl"),
    ] {
        let person = Person::register(&stage, &server, name);
        let change = [
            "account",
            "change",
            "--email",
            mail,
            "--full-name",
            full_name,
        ];
        let change = [&change[..], &["--password-stdin"]].concat();
        person.run(&change, PASSWORD.as_bytes()).success();
        person.run(&["tenants", "rename", full_name], b"").success();
    }
    for (text, expected) in [
        ("ADA", &["ada_1", "ada-2"][..]),
        ("a_1", &["ada_1"]),
        ("%", &["carl"]),
        ("Ärg", &["ada_1"]),
        ("ärg", &["ada_1"]),
        ("ÜNAL", &["ada_1"]),
        ("example.org", &["ada_1", "ada-2"]),
        ("bob of", &["ada-2"]),
        ("nobody", &[]),
    ] {
        let found = root.ask(&["admin", "users", "--search", text]);
        assert_eq!(members(&found, "username"), expected, "{text}");
    }
    let found = root.ask(&["admin", "tenants", "--search", "100%"]);
    assert_eq!(members(&found, "name"), ["100% Carl"]);
    let found = root.ask(&["admin", "tenants", "--search", "ÄRGER-ünal"]);
    assert_eq!(members(&found, "name"), ["Ada ÄRGER-Ünal"]);

    // Page by page, as curl would.
    let login = json!({ "username": "root", "password": PASSWORD });
    let session = server
        .ask(Method::POST, "/auth/login", None, Some(login))
        .await
        .body;
    let session: SecretString = session["access_token"].as_str().unwrap().into();
    let path = "/admin/users?q=ada&limit=1";
    let first = server
        .ask(Method::GET, path, Some(&session), None)
        .await
        .body;
    assert_eq!(members(&first, "username"), ["ada_1"]);
    let path = format!("{path}&cursor={}", first["next_cursor"].as_str().unwrap());
    let second = server
        .ask(Method::GET, &path, Some(&session), None)
        .await
        .body;
    assert_eq!(members(&second, "username"), ["ada-2"]);
    assert_eq!(second["next_cursor"], Value::Null);
}

async fn an_admin_changes_what_a_plan_allows(engine: Engine) {
    let stage = Stage::new(engine).await;
    let settings = [("AUTH_ENABLE_RATE_LIMITING", "true")];
    let server = Server::start_with(&stage, &settings);
    let ada = json!({ "username": "ada", "password": PASSWORD });
    let path = "/auth/register";
    let ada = server.ask(Method::POST, path, None, Some(ada)).await.body;
    let session = ada["access_token"].as_str().unwrap();
    let bearer = format!("Authorization: Bearer {session}");
    let session: SecretString = session.into();
    let limit = || {
        let answer = curl(&server, "/vms", &["--insecure", "--header", &bearer]);
        answer.field("RateLimit-Limit").map(str::to_owned)
    };
    assert_eq!(limit().as_deref(), Some("100"));

    let root = admin(&stage, &server);
    let set = ["admin", "plans", "set", "free", "--requests-per-minute"];
    let free = root.ask(&[&set[..], &["77", "--vms", "1"]].concat());
    assert_eq!((&free["vms"], &free["storage_gb"]), (&1.into(), &10.into()));
    assert_eq!(limit().as_deref(), Some("77"), "at once");
    let vm = async |name: &str| {
        let new = Some(json!({ "name": name }));
        server.ask(Method::POST, "/vms", Some(&session), new).await
    };
    assert_eq!(vm("a").await.status, 201);
    assert_eq!(vm("b").await.body["code"], "plan_limit");

    let host = Operator::of(&stage);
    let set = ["admin", "limits", "free", "--vms", "none", "--feature"];
    let told = host.run(&[&set[..], &["beta"]].concat(), b"").success();
    assert!(told.output.contains("\"vms\":null"), "{}", told.output);
    assert_eq!(vm("b").await.status, 201);
    let me = server
        .ask(Method::GET, "/auth/me", Some(&session), None)
        .await;
    assert_eq!(me.body["plan"]["features"], json!(["beta"]));

    let told = host.ask(&["admin", "limits", "free", "--vms", "none"]);
    assert_eq!(told["vms"], Value::Null);
    let told = host.ask(&["admin", "disable", "ada"]);
    assert_eq!(
        (&told["username"], &told["status"]),
        (&"ada".into(), &"disabled".into())
    );

    let set = ["admin", "plans", "set"];
    for (wrong, why) in [
        (&["gold", "--vms", "1"][..], "nothing of this name"),
        (&["free", "--requests-per-minute", "0"], "at least 1"),
        (&["free", "--vms", "many"], "`none`"),
        (&["free"], "--requests-per-minute"),
    ] {
        let refused = root.run(&[&set[..], wrong].concat(), b"");
        assert_ne!(refused.code, 0, "{wrong:?}");
        assert!(refused.errors.contains(why), "{}", refused.errors);
    }
    let told = "SELECT COUNT(*) FROM audit_events WHERE action = 'operator.plan_changed' \
        AND subject = 'free'";
    assert_eq!(stage.count(told).await, 3);
}

fn members<'a>(list: &'a Value, member: &str) -> Vec<&'a str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item[member].as_str().unwrap()).collect()
}

/// The admin whom the operator makes on the host, signed in from elsewhere.
pub(crate) fn admin<'a>(stage: &'a Stage, server: &Server) -> Person<'a> {
    let mut made = server.run_beside(stage, "admin", |command| {
        command.args(["admin", "create", "--username", "root", "--password-stdin"]);
        command.env("AUTH_PASSWORD_HASH_ROUNDS", "10");
    });
    made.feed(PASSWORD.as_bytes());
    assert!(made.wait().success(), "{}", made.log());
    let root = Person::new(stage, "root");
    root.log_in(server, "root");
    root
}
