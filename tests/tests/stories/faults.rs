//! Whatever breaks, what was acknowledged stays, what was revoked stays dead, and everything comes
//! back by itself. `cargo run --release -p keyferry-tests --example faults` does it for longer.

use std::time::Duration;

use keyferry_tests::faults::{Fault, suffer};
use keyferry_tests::{Engine, Program, Stage, example};

macro_rules! faults {
    ($($story:ident: $fault:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $story() {
            suffer(Fault::$fault, SPAN).await.holds();
        }
    )+};
}

faults! {
    a_killed_server_loses_nothing_that_it_acknowledged: ServerKilled,
    a_server_that_stood_still_goes_on: ServerPaused,
    a_clock_that_is_set_ahead_and_back_costs_a_sign_in: ClockAhead,
    a_clock_that_is_set_behind_and_back_costs_a_sign_in: ClockBehind,
    a_killed_database_loses_nothing_that_was_acknowledged: DatabaseKilled,
    a_database_that_stood_still_goes_on: DatabasePaused,
    a_database_without_room_loses_nothing_that_was_acknowledged: DatabaseFull,
    what_the_audit_has_no_room_for_is_not_done: AuditFull,
    nobody_notices_a_killed_redis: RedisKilled,
    nobody_notices_a_redis_that_stands_still: RedisPaused,
    nobody_notices_that_a_redis_fails_over: RedisFailedOver,
    a_killed_agent_that_boots_again_holds_what_it_should: AgentKilled,
    an_agent_that_stood_still_hears_of_what_was_revoked: AgentPaused,
    an_agent_behind_a_cut_wire_hears_of_what_was_revoked: NetworkCut,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_in_a_network_of_its_own_hears_of_what_was_revoked_while_the_wire_was_cut() {
    suffer_in_a_namespace(Fault::WireCut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_database_without_room_loses_nothing_that_was_acknowledged() {
    suffer_in_a_namespace(Fault::FileFull).await;
}

async fn suffer_in_a_namespace(fault: Fault) {
    let namespace = fault.namespace().expect("it takes one");
    let stage = Stage::new(Engine::Sqlite).await;
    let mut matrix = Program::start(&stage, "matrix", "/usr/bin/unshare".into(), |command| {
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let seconds = SPAN.as_secs().to_string();
        command
            .arg(namespace)
            .arg(example("faults"))
            .args([seconds, format!("{fault:?}")]);
    });
    let told = matrix.lines_to_the_end().join("\n");
    assert!(matrix.wait().success(), "{told}");
    assert!(told.contains("lost 0, revoked and alive 0"), "{told}");
}

const SPAN: Duration = Duration::from_secs(3);
