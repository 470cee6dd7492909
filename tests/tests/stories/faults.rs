//! Whatever breaks, what was acknowledged stays, what was revoked stays dead, and everything comes
//! back by itself. `cargo run --release -p keyferry-tests --example faults` does it for longer.

use std::time::Duration;

use keyferry_tests::faults::{Fault, suffer};

macro_rules! faults {
    ($($story:ident: $fault:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $story() {
            let outcome = suffer(Fault::$fault, SPAN).await;
            assert!(outcome.acknowledged > 5, "{outcome}");
            assert_eq!((outcome.lost, outcome.alive), (0, 0), "{outcome}");
        }
    )+};
}

faults! {
    a_killed_server_loses_nothing_that_it_acknowledged: ServerKilled,
    a_server_that_stood_still_goes_on: ServerPaused,
    a_killed_database_loses_nothing_that_was_acknowledged: DatabaseKilled,
    a_database_that_stood_still_goes_on: DatabasePaused,
    an_agent_that_stood_still_hears_of_what_was_revoked: AgentPaused,
    an_agent_behind_a_cut_wire_hears_of_what_was_revoked: NetworkCut,
}

const SPAN: Duration = Duration::from_secs(3);
