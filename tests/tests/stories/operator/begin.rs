//! What a command of the operator does before its work, and what it leaves alone.

use std::fs::{self, OpenOptions, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use keyferry_tests::{Engine, Operator, Stage, until};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use sqlx::migrate::Migrate;
use sqlx::{Connection, PgConnection};

#[tokio::test]
async fn a_health_check_makes_nothing() {
    let stage = Stage::new(Engine::Sqlite).await;
    let folder = stage.data_dir();
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let operator = Operator::of(&stage).with("PORT", &port);

    let failed = operator.run(&["health"], b"");
    assert!(failed.errors.contains("in time"), "{}", failed.errors);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    let mode = fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    fs::remove_dir(&folder).unwrap();
    assert_eq!(operator.run(&["health"], b"").code, 1);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_process_hardens_itself_before_it_reads_settings() {
    let stage = Stage::new(Engine::Sqlite).await;
    // Reading this takes until somebody writes into it.
    let settings = stage.folder().join(".env");
    mknodat(CWD, &settings, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let mut reading = Operator::of(&stage).start("reading", &["stats"]);
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let _pipe = until("it reads its settings", async || {
        let mut options = OpenOptions::new();
        let pipe = options.write(true).custom_flags(nonblocking);
        pipe.open(&settings).ok()
    })
    .await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", reading.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    let core: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(core[..6], ["Max", "core", "file", "size", "0", "0"]);
    reading.kill();
}

/// Longer than any statement may take otherwise.
#[tokio::test]
async fn a_server_waits_for_another_one_that_migrates() {
    const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event = 'advisory' \
        AND datname = current_database() AND now() - query_start > interval '10.5 s'";
    let stage = Stage::empty(Engine::Postgres).await;
    let url = stage.database().unwrap().url();
    let mut other = PgConnection::connect(url).await.unwrap();
    other.lock().await.unwrap();
    let mut migrating = Operator::of(&stage).start("migrating", &["migrate"]);
    until("it has waited for long", async || {
        (stage.count(WAITING).await > 0).then_some(())
    })
    .await;
    other.unlock().await.unwrap();
    assert!(migrating.wait().success(), "{}", migrating.log());
}
