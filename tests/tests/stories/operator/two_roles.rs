//! One role owns the schema, and servers are another that owns nothing: what it may not do,
//! PostgreSQL refuses. Nearly every other story runs by such a role as well.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_migrations::POSTGRES;
use keyferry_tests::{Answer, Engine, Operator, Person, Secret, Server, Stage, WallClock, until};
use serde_json::Value;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::database::{execute, query};

const ROLE: &str = "keyferry_server";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_of_servers_can_only_add_to_the_audit() {
    let stage = Stage::new(Engine::Postgres).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    let events = stage.count("SELECT COUNT(*) FROM audit_events").await;
    assert!(events > 0);
    for forbidden in [
        "UPDATE audit_events SET actor = 'nobody'",
        "UPDATE audit_events SET hash = NULL WHERE FALSE",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events CASCADE",
        "DROP TABLE audit_events CASCADE",
        "DROP SCHEMA public CASCADE",
        "DROP TRIGGER audit_events_stay ON audit_events",
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
        "ALTER TABLE audit_events RENAME TO forgotten",
        "CREATE RULE hide AS ON INSERT TO audit_events DO INSTEAD NOTHING",
        "CREATE TRIGGER hide BEFORE INSERT ON audit_events FOR EACH ROW \
         EXECUTE FUNCTION refuse_audit_change()",
        "CREATE OR REPLACE FUNCTION refuse_audit_delete() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RETURN OLD; END $$",
        "DELETE FROM recent_auth_events",
        "UPDATE audit_heads SET pruned_seq = seq",
        "DELETE FROM audit_heads",
        "TRUNCATE audit_heads",
        "DELETE FROM audit_keys",
        "UPDATE _audit_retention SET keep_days = 1",
        "DELETE FROM _audit_retention",
        "DELETE FROM _sqlx_migrations",
        "DELETE FROM retired_master_keys",
        "SELECT prune_audit(chain_id, seq, hash, hash) FROM audit_events",
        "SET ROLE keyferry",
        "SET session_replication_role = replica",
        "CREATE TABLE of_my_own (x INT)",
    ] {
        refused(&stage, forbidden).await;
    }
    let left = stage.count("SELECT COUNT(*) FROM audit_events").await;
    assert_eq!(left, events);
    let role = database_role(&stage);
    assert_eq!(role["detail"], format!("{ROLE} can only add to the audit"));
    assert_eq!((&role["ok"], role.get("warning")), (&true.into(), None));
    assert!(server.log().contains("can only add to the audit"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_owns_the_schema_is_told_of_and_serves() {
    let stage = Stage::empty(Engine::Postgres).await;
    let server = Server::start(&stage);
    let role = database_role(&stage);
    assert_eq!(
        (&role["ok"], &role["warning"]),
        (&true.into(), &true.into())
    );
    let told = "can change the audit, since it is a superuser";
    assert!(role["detail"].as_str().unwrap().contains(told), "{role}");
    assert!(server.log().contains(told));
    let shown = Operator::of(&stage).run(&["verify"], b"").success();
    assert!(shown.output.contains("! database role"), "{}", shown.output);
}

/// Servers prune by themselves, once an hour from their start on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_prune_what_the_owner_lets_them_and_no_more() {
    const DAYS: [(&str, &str); 1] = [("KEYFERRY_AUDIT_RETENTION_DAYS", "30")];
    const OLD: &str = "SELECT COUNT(*) FROM audit_events \
        WHERE at < microseconds_now() - 30 * 86400000000";
    let stage = Stage::new(Engine::Postgres).await;
    let clock = WallClock::right(&stage);
    clock.set_ahead(-40 * 86_400);
    let mut long_ago = Server::start_with(&stage, &clock.settings());
    Person::register(&stage, &long_ago, "ada");
    assert!(long_ago.terminate().success());
    let old = stage.count(OLD).await;
    assert!(old > 0);
    let operator = Operator::of(&stage);
    let prune = |days: &str| operator.run(&["audit", "prune", "--older-than-days", days], b"");
    assert!(prune("30").errors.contains("only the owner"));
    assert_eq!(stage.count(OLD).await, old);

    let owner = Operator::of(&stage).as_owner().with(DAYS[0].0, DAYS[0].1);
    let granted = owner.run(&["migrate", "--grant-to", ROLE], b"").success();
    let told = "prunes those older than 30 days";
    assert!(granted.output.contains(told), "{}", granted.output);
    let server = Server::start_with(&stage, &DAYS);
    until("what is old is gone", async || {
        (stage.count(OLD).await == 0).then_some(())
    })
    .await;
    let young = prune("0");
    let told = "only the owner of the schema prunes events of the last 30 days";
    assert!(young.errors.contains(told), "{}", young.errors);
    let kept = stage.count("SELECT COUNT(*) FROM audit_events").await;
    assert!(kept > 0);
    assert_eq!(operator.ask(&["verify"])["ok"], true);
    assert!(
        database_role(&stage)["detail"]
            .to_string()
            .contains("older than 30 days")
    );
    let by_owner = owner.ask(&["audit", "prune", "--older-than-days", "0"]);
    assert!(by_owner["pruned"].as_i64().unwrap() >= kept);
    assert_eq!(operator.ask(&["audit", "verify"])["intact"], true);
    Person::register(&stage, &server, "eve");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_is_behind_is_its_owners_to_bring_up_to_date() {
    let _which_has_the_role = Stage::new(Engine::Postgres).await;
    let stage = Stage::empty(Engine::Postgres).await;
    let of_servers = stage.database().unwrap().url_of(ROLE);
    let server_role = Operator::of(&stage).with("DATABASE_URL", &of_servers);
    let serve = || server_role.run(&["serve", "--listen", "127.0.0.1:0"], b"");
    let advice = format!("`keyferry-server migrate --grant-to {ROLE}`");
    let empty = serve();
    assert!(empty.errors.contains(&advice), "{}", empty.errors);

    let steps = POSTGRES.iter().count() - 1;
    let earlier = Migrator::with_migrations(POSTGRES.iter().take(steps).cloned().collect());
    let mut owner = PgConnection::connect(stage.database().unwrap().url())
        .await
        .unwrap();
    earlier.run(&mut owner).await.unwrap();
    let strange = serve();
    assert!(
        strange.errors.contains("has no right"),
        "{}",
        strange.errors
    );
    // Too much, as somebody may have granted it by hand.
    let all = format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}");
    execute(&stage, &all).await;
    let behind = serve();
    assert!(behind.errors.contains(&advice), "{}", behind.errors);

    assert!(!stage.data_dir().join("master.key").exists());
    let operator = Operator::of(&stage);
    let done = operator.ask(&["migrate", "--grant-to", ROLE]);
    assert_eq!(done["done"].as_array().unwrap().len(), 1);
    assert_eq!(done["grants"]["role"], ROLE);
    let data_dir = stage.path("theirs");
    let settings = [("DATABASE_URL", of_servers.as_str())];
    let server = Server::start_elsewhere(&stage, &data_dir, &settings);
    Person::register(&stage, &server, "ada");
    let refused = connect(&of_servers)
        .await
        .execute("DELETE FROM audit_events")
        .await;
    assert_eq!(code(refused.unwrap_err()), "42501");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_servers_need_is_shown_granted_and_looked_for_at_start() {
    let stage = Stage::new(Engine::Postgres).await;
    let name = r#"it's "quoted"; DROP"#;
    let grantee = ["migrate", "--grant-to", name];
    let owner = Operator::of(&stage).as_owner();
    let unknown = owner.run(&grantee, b"");
    assert!(
        unknown.errors.contains("there is no role it's"),
        "{}",
        unknown.errors
    );
    execute(&stage, r#"CREATE ROLE "it's ""quoted""; DROP" LOGIN"#).await;
    let shown = owner
        .run(&[&grantee[..], &["--dry-run"]].concat(), b"")
        .success();
    let line = r#"GRANT SELECT, INSERT ON "audit_events" TO "it's ""quoted""; DROP";"#;
    assert!(shown.output.contains(line), "{}", shown.output);
    let held = format!(
        "SELECT COUNT(*) FROM information_schema.role_table_grants WHERE grantee = '{}'",
        name.replace('\'', "''")
    );
    assert_eq!(query::<i64>(&stage, &held).await, 0);
    owner.run(&grantee, b"").success();
    let once = query::<i64>(&stage, &held).await;
    assert!(once > 50);
    owner.run(&grantee, b"").success();
    assert_eq!(query::<i64>(&stage, &held).await, once);

    let servers = Operator::of(&stage);
    assert_told(&servers.run(&grantee, b""), "could not be granted");
    assert_told(
        &owner.run(&["migrate", "--grant-to", "keyferry"], b""),
        "owns nothing",
    );
    execute(&stage, &format!("REVOKE INSERT ON sessions FROM {ROLE}")).await;
    let lacking = servers.run(&["serve", "--listen", "127.0.0.1:0"], b"");
    assert_told(&lacking, "lacks INSERT on sessions");
    owner.run(&["migrate", "--grant-to", ROLE], b"").success();
    execute(&stage, &format!("GRANT CREATE ON SCHEMA public TO {ROLE}")).await;
    let wide = owner.run(&["migrate", "--grant-to", ROLE], b"").success();
    assert!(
        wide.output.contains("may CREATE in the schema"),
        "{}",
        wide.output
    );
    Server::start(&stage);
    assert_eq!(database_role(&stage)["warning"], true);
}

/// As `docs/OPERATIONS.md` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_role_becomes_two_while_its_server_runs() {
    const REASSIGN: &str = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO now_owner', \
        current_database()); END $$; REASSIGN OWNED BY was_alone TO now_owner";
    let stage = Stage::empty(Engine::Postgres).await;
    let database = stage.database().unwrap();
    execute(
        &stage,
        "CREATE ROLE was_alone LOGIN; CREATE ROLE now_owner LOGIN",
    )
    .await;
    let own = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO was_alone', \
        current_database()); END $$";
    execute(&stage, own).await;
    let alone = database.url_of("was_alone");
    let server = Server::start_with(&stage, &[("DATABASE_URL", &alone)]);
    let ada = Person::register(&stage, &server, "ada");
    let verified = Operator::of(&stage).with("DATABASE_URL", &alone);
    let told = verified.run(&["verify"], b"").success().output;
    assert!(told.contains("since it owns _audit_retention"), "{told}");

    execute(&stage, REASSIGN).await;
    let owner = Operator::of(&stage).with("DATABASE_URL", &database.url_of("now_owner"));
    owner
        .run(&["migrate", "--grant-to", "was_alone"], b"")
        .success();
    ada.put("openai", &Secret::fresh());
    let told = verified.run(&["verify"], b"").success().output;
    assert!(
        told.contains("was_alone can only add to the audit"),
        "{told}"
    );
    let refused = connect(&alone)
        .await
        .execute("DELETE FROM audit_events")
        .await;
    assert_eq!(code(refused.unwrap_err()), "42501");
}

fn assert_told(refused: &Answer, what: &str) {
    assert!(
        refused.code == 1 && refused.errors.contains(what),
        "{}",
        refused.errors
    );
}

fn database_role(stage: &Stage) -> Value {
    let verified = Operator::of(stage).ask(&["verify"]);
    let checks = verified["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == "database role");
    found.unwrap().clone()
}

/// PostgreSQL refuses it to the role of servers.
async fn refused(stage: &Stage, sql: &str) {
    let mut servers = connect(stage.database().unwrap().server_url()).await;
    let answer = servers.execute(AssertSqlSafe(sql.to_owned())).await;
    assert_eq!(code(answer.expect_err(sql)), "42501", "{sql}");
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

fn code(refused: sqlx::Error) -> String {
    let told = refused.into_database_error().unwrap();
    told.code().unwrap().into_owned()
}
