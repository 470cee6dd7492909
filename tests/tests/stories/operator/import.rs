//! Users and keys of a system that kept them as FastAPI programs do: bcrypt hashes, and Fernet tokens
//! made by Python's `cryptography`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::Write;
use std::process::{Command, Stdio};

use keyferry_tests::{
    Agent, Database, Engine, Operator, PASSWORD, Person, Secret, Server, Stage, Tool,
    on_both_engines, python_with_fernet,
};
use serde_json::{Value, json};

on_both_engines!(
    users_of_another_system_log_in_and_their_keys_are_delivered,
    what_cannot_be_imported_is_said_and_left_out,
    a_dry_run_makes_no_keys,
    columns_that_are_not_there_and_spoken_passwords_are_refused,
);

/// The other system: its database, and the key of its tokens.
pub(super) struct Foreign {
    pub(super) database: Database,
    pub(super) key_file: std::path::PathBuf,
}

impl Foreign {
    /// Made by Python; each user is a name and the values of their keys.
    pub(super) async fn make(stage: &Stage, users: &[(&str, Vec<String>)]) -> Self {
        let database = Database::create_empty().await;
        let (address, _) = database.url().split_once('?').unwrap();
        let (_, name) = address.rsplit_once('/').unwrap();
        let key_file = stage.path(&format!("{name}.key"));
        let input = json!({ "users": users, "password": PASSWORD });
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut python = Command::new(python_with_fernet())
            .arg(folder.join("sdks/fernet.py"))
            .arg(&key_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = input.to_string();
        python
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let made = python.wait_with_output().unwrap();
        assert!(made.status.success());
        let sql = String::from_utf8(made.stdout).unwrap();
        let made = Self { database, key_file };
        made.execute(&sql).await;
        made
    }

    /// Statements in its database.
    pub(super) async fn execute(&self, sql: &str) {
        super::database::execute_at(self.database.url(), sql).await;
    }

    pub(super) fn import<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let file = self.key_file.to_str().unwrap();
        let import = [
            "import",
            "--from",
            self.database.url(),
            "--fernet-key-file",
            file,
        ];
        [&import[..], more].concat()
    }
}

async fn users_of_another_system_log_in_and_their_keys_are_delivered(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let (openai, groq) = (Secret::fresh(), Secret::fresh());
    let values = vec![openai.text().to_owned(), groq.text().to_owned()];
    let foreign = Foreign::make(&stage, &[("ada", values), ("eve", Vec::new())]).await;
    let operator = Operator::of(&stage);

    let dry = operator.ask(&foreign.import(&["--dry-run"]));
    assert_eq!(dry["users"]["imported"], 2);
    assert_eq!(dry["keys"]["imported"], 2);
    let real = operator.ask(&foreign.import(&["--delivery", "raw"]));
    assert_eq!(
        (&real["users"], &real["keys"]),
        (&dry["users"], &dry["keys"])
    );
    let again = operator.ask(&foreign.import(&[]));
    assert_eq!(
        again["users"],
        json!({ "imported": 0, "known": 2, "left_out": 0 })
    );
    assert_eq!(
        again["keys"],
        json!({ "imported": 0, "known": 2, "left_out": 0 })
    );

    let ada = log_in(&stage, &server, "ada");
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    for (name, value) in [("provider-0", &openai), ("provider-1", &groq)] {
        agent.until_holding(name, 1).await;
        let mut tool = Tool::open(&stage, &agent, name).await;
        assert_eq!(tool.next_event()["sha256"], value.sha256());
    }
    assert_eq!(operator.ask(&["verify"])["ok"], true);
}

/// A server that signs otherwise has made no key that another one would sign by.
async fn a_dry_run_makes_no_keys(engine: Engine) {
    const KEYS: &str = "SELECT COUNT(*) FROM signing_keys";
    let hs256 = [
        ("JWT_ALGORITHM", "HS256"),
        ("JWT_SECRET_KEY", "a secret of at least thirty-two bytes"),
    ];
    let stage = Stage::new(engine).await;
    let mut server = Server::start_with(&stage, &hs256);
    assert!(server.terminate().success());
    let foreign = Foreign::make(&stage, &[]).await;
    let dry_run = foreign.import(&["--dry-run"]);
    let refused = Operator::of(&stage).run(&dry_run, b"");
    assert!(
        refused.errors.contains("make its keys"),
        "{}",
        refused.errors
    );
    assert_eq!(stage.count(KEYS).await, 0);
    let told = hs256
        .iter()
        .fold(Operator::of(&stage), |operator, (name, value)| {
            operator.with(name, value)
        });
    assert_eq!(told.ask(&dry_run)["users"]["imported"], 0);
    assert_eq!(stage.count(KEYS).await, 0);
}

async fn what_cannot_be_imported_is_said_and_left_out(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let values = |count| {
        (0..count)
            .map(|_| Secret::fresh().text().to_owned())
            .collect()
    };
    let users = [
        ("Ada", values(1)),
        ("bob", values(2)),
        ("eve", values(1)),
        ("Bob", values(1)),
        ("low", values(1)),
    ];
    let foreign = Foreign::make(&stage, &users).await;
    for change in [
        "UPDATE users SET hashed_password = 'argon2' WHERE username = 'eve'",
        "UPDATE users SET hashed_password = '$2b$03$' || substr(hashed_password, 8) \
            WHERE username = 'low'",
        "UPDATE api_keys SET encrypted_key = 'gAAAAA==' WHERE name = 'provider-1'",
    ] {
        foreign.execute(change).await;
    }
    let operator = Operator::of(&stage);
    let dry = operator.ask(&foreign.import(&["--dry-run"]));
    let report = operator.ask(&foreign.import(&[]));
    for part in ["users", "keys", "left_out"] {
        assert_eq!(
            dry[part], report[part],
            "a dry run says what a real one does"
        );
    }
    let tally =
        |imported, left_out| json!({ "imported": imported, "known": 0, "left_out": left_out });
    assert_eq!(report["users"], tally(1, 4));
    assert_eq!(report["keys"], tally(1, 5));
    let reasons: Vec<&str> = report["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(reason)
        .collect();
    for said in [
        "another account Ada",
        "not bcrypt",
        "no Fernet token",
        "user was not imported",
    ] {
        assert!(
            reasons.iter().any(|reason| reason.contains(said)),
            "{said}: {reasons:?}"
        );
    }
    let own = ada.ask(&["keys", "list"]);
    assert!(own["items"].as_array().unwrap().is_empty(), "{own}");
}

async fn columns_that_are_not_there_and_spoken_passwords_are_refused(engine: Engine) {
    let stage = Stage::new(engine).await;
    let foreign = Foreign::make(&stage, &[]).await;
    let operator = Operator::of(&stage);
    let refused = |arguments: &[&str], said: &str| {
        let refused = operator.run(arguments, b"");
        assert_eq!(refused.code, 1);
        assert!(refused.errors.contains(said), "{said}: {}", refused.errors);
    };
    refused(
        &foreign.import(&["--column", "keys.token=nowhere"]),
        "--column keys.token",
    );
    refused(
        &foreign.import(&["--column", "keys.tocken=x"]),
        "keys.tocken",
    );
    refused(
        &foreign.import(&["--users-table", "people"]),
        "no table people",
    );
    let from = |url| ["import", "--from", url, "--fernet-key-file", "-"];
    refused(&from("postgres://a:b@localhost/x"), "PGPASSWORD");
    refused(&from("postgres://a@127.0.0.1:1/x"), "Connection refused");
    let (_, server) = foreign.database.url().split_once('?').unwrap();
    refused(
        &from(&format!("postgres:///nowhere?{server}")),
        "does not exist",
    );
}

pub(super) fn reason(row: &Value) -> &str {
    row["reason"].as_str().unwrap()
}

pub(super) fn log_in<'a>(stage: &'a Stage, server: &Server, name: &str) -> Person<'a> {
    let person = Person::new(stage, name);
    person.log_in(server, name);
    person
}
