//! How much a machine may do with a key in a day, whatever becomes of its agent.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{
    Agent, Engine, Person, Provider, Raw, Secret, Server, Stage, on_both_engines, until,
    until_the_day_is_long_enough,
};

on_both_engines!(a_restarted_agent_goes_on_with_the_budget_of_its_day);

async fn a_restarted_agent_goes_on_with_the_budget_of_its_day(engine: Engine) {
    until_the_day_is_long_enough().await;
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start(&stage, &key).await;
    ada.put_for_host(("openai", "openai"), &provider.host(), &key);
    let bound = ["keys", "policy", "openai", "--requests-per-day", "3"];
    ada.run(&bound, b"").success();
    let settings = provider.agent_settings();
    let mut agent = Agent::enrol_with(&stage, &ada, "kali-1", &settings).await;
    agent.until_holding("openai", 1).await;
    for _ in 0..2 {
        assert_eq!(request(&agent).await.0, 200);
    }
    // Two tokens were given out besides, which count for no budget.
    assert!(agent.terminate().success());
    until("the server knows of both requests", async || {
        (requested(&ada) == 2).then_some(())
    })
    .await;

    let agent = Agent::start_with(&stage, ("kali-1", &ada.ticket("kali-1")), |command| {
        command.arg("--config").arg(stage.path("kali-1.toml"));
    });
    agent.until_holding("openai", 1).await;
    agent.until_healthy().await;
    assert_eq!(request(&agent).await.0, 200);
    let refused = (429, "budget_requests_per_day".to_owned());
    assert_eq!(request(&agent).await, refused);
    assert_eq!(provider.seen().len(), 3);
    // What it has done itself is its own count.
    assert_eq!(agent.key("openai").await.unwrap().requests, 1);

    let other = Agent::enrol_with(&stage, &ada, "kali-2", &settings).await;
    other.until_holding("openai", 1).await;
    let of_its_own = "another machine has a budget of its own";
    assert_eq!(request(&other).await.0, 200, "{of_its_own}");
}

/// One request with a token of its own: its status and, if the proxy refuses, the code.
async fn request(agent: &Agent) -> (u16, String) {
    let answer = Raw::of(agent, "openai").await.ask("/v1/models").await;
    (answer.status, answer.code)
}

/// Requests in the audit, as their owner sees them.
fn requested(ada: &Person<'_>) -> u64 {
    let events = ada.ask(&["audit", "list", "--action", "key.opened"]);
    let items = events["items"].as_array().unwrap().iter();
    let of_requests = items.filter(|event| event["detail"]["requested"] == true);
    of_requests
        .filter_map(|event| event["detail"]["count"].as_u64())
        .sum()
}
