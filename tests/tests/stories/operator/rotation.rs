//! The master key is replaced under ten thousand keys by a command that is killed three times, while
//! the server goes on.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{
    Agent, Engine, Operator, Person, Secret, Server, Stage, Tool, on_both_engines, until,
};

use super::database::query;
use super::import::Foreign;

on_both_engines!(ten_thousand_keys_are_sealed_anew_by_a_command_that_is_killed_three_times);

async fn ten_thousand_keys_are_sealed_anew_by_a_command_that_is_killed_three_times(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let names: Vec<String> = (0..USERS).map(|number| format!("user-{number}")).collect();
    let value = |_| Secret::fresh().text().to_owned();
    let wanted = Secret::fresh();
    let mut users: Vec<(&str, Vec<String>)> = names
        .iter()
        .map(|name| (name.as_str(), (0..KEYS_EACH).map(value).collect()))
        .collect();
    users.push(("ada", vec![wanted.text().to_owned()]));
    let foreign = Foreign::make(&stage, &users).await;
    let operator = Operator::of(&stage);
    let imported = operator.ask(&foreign.import(&["--delivery", "raw"]));
    assert_eq!(imported["keys"]["imported"], USERS * KEYS_EACH + 1);
    let old: Vec<u8> = query(&stage, "SELECT master_key_id FROM server_keys LIMIT 1").await;

    let ada = Person::new(&stage, "ada");
    ada.log_in(&server, "ada");
    for share in [1, 2, 3] {
        let mut rotation = operator.start("rotation", &["rotate", "master-key"]);
        until("a part is sealed anew", async || {
            (left(&stage, &old).await <= i64::from(10 - share) * 1_000).then_some(())
        })
        .await;
        rotation.kill();
        let left = left(&stage, &old).await;
        assert!(left > 0, "killed in the middle");
        ada.put(&format!("while-{share}"), &Secret::fresh());
    }
    let done = operator.ask(&["rotate", "master-key"]);
    assert!(done["records"].as_u64().unwrap() > 10_000, "{done}");

    assert_eq!(left(&stage, &old).await, 0);
    const KEYS: &str = "SELECT COUNT(*) FROM (SELECT master_key_id FROM key_versions \
        UNION SELECT master_key_id FROM server_keys UNION SELECT master_key_id FROM signing_keys) t";
    assert_eq!(
        query::<i64>(&stage, KEYS).await,
        1,
        "no row is under another key"
    );
    let verified = operator.ask(&["verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let mut tool = Tool::open(&stage, &agent, "provider-0").await;
    assert_eq!(tool.next_event()["sha256"], wanted.sha256());
}

async fn left(stage: &Stage, old: &[u8]) -> i64 {
    let hex: String = old.iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = match stage.database() {
        Some(_) => format!("'\\x{hex}'"),
        None => format!("x'{hex}'"),
    };
    let sql = format!("SELECT COUNT(*) FROM key_versions WHERE master_key_id = {bytes}");
    query(stage, &sql).await
}

const USERS: usize = 100;
const KEYS_EACH: usize = 100;
