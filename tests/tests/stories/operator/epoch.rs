//! The epoch tells a database that was brought back from one that only moved on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use keyferry_tests::{Engine, Operator, Person, Server, Stage, on_both_engines, until};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use super::database::{execute, query};

on_both_engines!(a_command_that_meets_a_server_moving_on_shuts_nobody_out);

async fn a_command_that_meets_a_server_moving_on_shuts_nobody_out(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    assert!(server.terminate().success());
    const INSTANCE: &str = "SELECT value FROM settings WHERE name = 'instance_id'";
    let instance: String = query(&stage, INSTANCE).await;

    // Reading the epoch's file takes until somebody writes into it.
    let file = stage.data_dir().join("epoch");
    std::fs::remove_file(&file).unwrap();
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut sweep = Operator::of(&stage).start("sweep", &["sweep"]);
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut pipe = until("the command reads the epoch", async || {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .custom_flags(nonblocking)
            .open(&file)
            .ok()
    })
    .await;
    const LATER: &str = "UPDATE settings SET value = '9000000000000000' WHERE name = 'epoch'";
    execute(&stage, LATER).await;
    pipe.write_all(format!("{instance} 9000000000000000\n").as_bytes())
        .unwrap();
    drop(pipe);

    assert!(sweep.wait().success(), "{}", sweep.log());
    assert_eq!(
        stage
            .count("SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL")
            .await,
        1
    );
    const RESTORED: &str = "SELECT COUNT(*) FROM audit_events WHERE action = 'server.restored'";
    assert_eq!(stage.count(RESTORED).await, 0);
}
