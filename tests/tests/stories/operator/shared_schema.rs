//! Tables of somebody else's lie in the same schema of PostgreSQL: they are left alone.

use keyferry_tests::{Engine, Operator, Person, Server, Stage};

use super::database::execute;

/// What the owner of Keyferry's tables has made for something else.
const OTHERS: &str = "CREATE TABLE prices (price INT); CREATE VIEW dear AS SELECT price FROM prices; \
    CREATE FUNCTION raise_prices() RETURNS void LANGUAGE sql SECURITY DEFINER AS \
        $$ UPDATE prices SET price = price + 1 $$; \
    REVOKE EXECUTE ON FUNCTION raise_prices FROM PUBLIC; \
    CREATE TABLE stock (x INT); GRANT DELETE ON stock TO keyferry_server";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_need_no_rights_on_tables_of_others() {
    let stage = Stage::new(Engine::Postgres).await;
    execute(&stage, OTHERS).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    let operator = Operator::of(&stage);
    let file = stage.path("backup");
    let backup = ["backup", file.to_str().unwrap()];
    operator.run(&backup, b"").success();
    assert_eq!(operator.ask(&["verify"])["ok"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_given_no_rights_on_tables_of_others_and_keep_those_they_have() {
    let stage = Stage::new(Engine::Postgres).await;
    execute(&stage, OTHERS).await;
    let owner = Operator::of(&stage).as_owner();
    let grant = ["migrate", "--grant-to", "keyferry_server"];
    let told = owner
        .run(&[&grant[..], &["--dry-run"]].concat(), b"")
        .success();
    for other in ["prices", "dear", "raise_prices", "stock"] {
        assert!(!told.output.contains(other), "{}", told.output);
    }
    owner.run(&grant, b"").success();
    const MAY: &str = "SELECT COUNT(*) FROM pg_class \
        WHERE relname IN ('prices', 'dear') AND has_table_privilege('keyferry_server', oid, \
        'SELECT, INSERT, UPDATE, DELETE')";
    assert_eq!(stage.count(MAY).await, 0);
    const CALLS: &str = "SELECT COUNT(*) FROM pg_proc WHERE proname = 'raise_prices' \
        AND has_function_privilege('keyferry_server', oid, 'EXECUTE')";
    assert_eq!(stage.count(CALLS).await, 0);
    const HAD: &str = "SELECT COUNT(*) FROM pg_class WHERE relname = 'stock' \
        AND has_table_privilege('keyferry_server', oid, 'DELETE')";
    assert_eq!(stage.count(HAD).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_given_rights_on_every_table_and_function_of_ours() {
    let stage = Stage::new(Engine::Postgres).await;
    const MISSED: &str = "SELECT COUNT(*) FROM pg_class c JOIN pg_namespace n \
        ON n.oid = c.relnamespace WHERE n.nspname = current_schema() \
        AND c.relkind IN ('r', 'p', 'v') \
        AND NOT has_table_privilege('keyferry_server', c.oid, 'SELECT')";
    assert_eq!(stage.count(MISSED).await, 0);
    // By name: PUBLIC may call most of them anyway.
    const FUNCTIONS: &str = "SELECT COUNT(*) FROM pg_proc p JOIN pg_namespace n \
        ON n.oid = p.pronamespace WHERE n.nspname = current_schema() \
        AND p.prorettype <> 'trigger'::regtype AND NOT EXISTS (SELECT 1 FROM \
        aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee \
        WHERE r.rolname = 'keyferry_server')";
    assert_eq!(stage.count(FUNCTIONS).await, 0);
}
