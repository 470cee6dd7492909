//! The way to a PostgreSQL that is elsewhere: encrypted, and to nobody but itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use keyferry_tests::{Agent, Authority, Operator, Person, Secret, Server, Stage};

/// A PostgreSQL that speaks TLS, and who certified it.
struct Elsewhere {
    stage: Stage,
    authority: Authority,
    trusted: PathBuf,
    /// Host, port and name of the database.
    address: String,
}

impl Elsewhere {
    async fn start() -> Self {
        let stage = Stage::with_own_postgres().await;
        let authority = Authority::new();
        let trusted = stage.path("authority.pem");
        write(&trusted, authority.pem()).unwrap();
        let address = stage.database().unwrap().listen(&authority).await;
        Self {
            stage,
            authority,
            trusted,
            address,
        }
    }

    /// The URL that OPERATIONS.md tells operators to use.
    fn url(&self, role: &str) -> String {
        let (address, trusted) = (&self.address, self.trusted.display());
        format!("postgres://{role}@{address}?sslmode=verify-full&sslrootcert={trusted}")
    }

    /// What an operator is told who would use the database by this URL, and may not.
    fn refused(&self, url: &str) -> String {
        let operator = Operator::of(&self.stage).with("DATABASE_URL", url);
        let answer = operator.run(LOOK, b"");
        assert_eq!(answer.code, 1, "{url}: {}", answer.output);
        answer.errors
    }

    /// The parameters that show a certificate for this name.
    fn shown(&self, name: &str) -> String {
        let (certificate, key) = self.authority.certify(&[name]);
        let files = [self.stage.path("shown.pem"), self.stage.path("shown.key")];
        write(&files[0], certificate.pem()).unwrap();
        write(&files[1], key.serialize_pem()).unwrap();
        set_permissions(&files[1], Permissions::from_mode(0o600)).unwrap();
        let [certificate, key] = files.each_ref().map(|file| file.display());
        format!("&sslcert={certificate}&sslkey={key}")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_passes_between_server_and_database_is_encrypted() {
    let elsewhere = Elsewhere::start().await;
    let (stage, url) = (&elsewhere.stage, elsewhere.url("keyferry_server"));
    let server = Server::start_with(stage, &[("DATABASE_URL", &url)]);
    let ada = Person::register(stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(stage, &ada, "kali-1").await;
    agent.until_it_has("openai").await;
    let encrypted = "SELECT COUNT(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE usename = 'keyferry_server' AND version = 'TLSv1.3'";
    assert!(stage.count(encrypted).await > 0);
    let all = "SELECT COUNT(*) FROM pg_stat_activity WHERE usename = 'keyferry_server'";
    let [encrypted, all] = [stage.count(encrypted).await, stage.count(all).await];
    assert_eq!(encrypted, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_prove_itself_is_not_used() {
    let elsewhere = Elsewhere::start().await;
    let url = elsewhere.url("keyferry_server");
    let operator = Operator::of(&elsewhere.stage).with("DATABASE_URL", &url);
    operator.run(LOOK, b"").success();

    let another = elsewhere.stage.path("another.pem");
    write(&another, Authority::new().pem()).unwrap();
    let trusted = elsewhere.trusted.display().to_string();
    let foreign = elsewhere.refused(&url.replace(&trusted, another.to_str().unwrap()));
    assert!(foreign.contains("`sslrootcert` names"), "{foreign}");
    let renamed = elsewhere.refused(&url.replace("127.0.0.1", "localhost"));
    assert!(
        renamed.contains("the host is one of its names"),
        "{renamed}"
    );
    let nowhere = elsewhere.refused(&url.replace(&trusted, "/nowhere.pem"));
    assert!(nowhere.contains("/nowhere.pem"), "{nowhere}");
    let plain = elsewhere.refused(&url.replace("verify-full", "disable"));
    assert!(plain.contains("no encryption"), "{plain}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_needs_a_certificate_shows_it() {
    let elsewhere = Elsewhere::start().await;
    let url = elsewhere.url("keyferry");
    let without = elsewhere.refused(&url);
    assert!(without.contains("certificate"), "{without}");
    let stranger = elsewhere.refused(&[&*url, &elsewhere.shown("somebody")].concat());
    assert!(stranger.contains("keyferry"), "{stranger}");
    let with = [&*url, &elsewhere.shown("keyferry")].concat();
    let owner = Operator::of(&elsewhere.stage).with("DATABASE_URL", &with);
    owner.run(LOOK, b"").success();
}

/// Whoever may connect may do this.
const LOOK: &[&str] = &["migrate", "--dry-run"];
