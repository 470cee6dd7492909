//! What users of comparable products complain about most: one story each, named after it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod keys;
mod machines;
mod tools;

use keyferry_tests::{Agent, Stage, until};

const IMPATIENT: &str = "[reconnect]\nlongest_ms = 200\n";

/// The shortest lease that an owner can set is longer than a story should take.
async fn shorten_leases(stage: &Stage) {
    const SQL: &str = "UPDATE provider_keys SET policy = \
        REPLACE(policy, '\"lease_seconds\":900', '\"lease_seconds\":6')";
    assert!(stage.change(SQL).await > 0);
}

async fn until_lease_is_over(agent: &Agent, key: &str) {
    until("the lease is over", async || {
        (agent.key(key).await?.state == "lease_over").then_some(())
    })
    .await;
}
