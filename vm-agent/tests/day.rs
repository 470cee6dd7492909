//! 24 hours of leases, outages and rotations: no stale key is served, and the agent is never stuck.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a simulation fails by panicking"
)]

#[path = "../examples/days/simulation/mod.rs"]
mod simulation;

use std::time::Duration;

#[test]
fn on_a_day_of_outages_no_stale_key_is_served_and_the_agent_always_comes_back() {
    let lived = simulation::live(21, Duration::from_secs(24 * 3600));
    assert_eq!(lived.events.len(), 15, "not everything happened: {lived:?}");
    let (looks, live) = lived.looks;
    assert!(
        looks > 10_000 && live > looks,
        "hardly anything was seen: {lived:?}"
    );
    assert!(lived.sessions > 60, "{lived:?}");
    let [before, after] = lived.growth;
    assert!(after.descriptors <= before.descriptors + 8, "{lived:?}");
    assert!(after.resident <= before.resident + 16 * 1024, "{lived:?}");
}
