//! People who sign in by another provider, with a browser: curl, which follows redirects and keeps
//! cookies. The provider is a real one.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;
use std::process::Command;

use hyper::Method;
use keyferry_tests::{
    Engine, OidcProvider, PASSWORD, Person, Program, Server, Stage, binary, on_both_engines, until,
};
use serde_json::{Value, json};

on_both_engines!(
    a_newcomer_signs_in_by_a_provider,
    an_account_is_linked_once_both_sides_have_verified_its_address,
    a_sign_in_counts_once_and_in_its_own_browser,
    a_person_signs_in_from_the_command_line,
);

async fn a_newcomer_signs_in_by_a_provider(engine: Engine) {
    let (stage, server, _provider) = stage(engine).await;
    let listed = server.ask(Method::GET, "/auth/providers", None, None).await;
    let corp = &listed.body["items"][0];
    assert_eq!(
        (&corp["name"], &corp["display_name"]),
        (&json!("corp"), &json!("Corp"))
    );
    let browser = Browser::new(&stage, "one", "ada");
    let said = browser.open(&start(&server));
    assert_eq!(said.places.last().unwrap(), "/", "{said:?}");
    let me = browser.me(&server);
    assert_eq!(
        (&me["email"], &me["email_verified"]),
        (&json!("ada@example.org"), &json!(true))
    );
    assert_eq!(me["full_name"], "ada of Corp");
    let elsewhere = Browser::new(&stage, "two", "ada");
    elsewhere.open(&start(&server));
    assert_eq!(
        elsewhere.me(&server)["id"],
        me["id"],
        "it is the same account"
    );

    let denied = Browser::new(&stage, "three", "nobody").open(&start(&server));
    assert_eq!(
        (denied.status, &denied.body["code"]),
        (403, &json!("provider_refused"))
    );
    let unproven = Browser::new(&stage, "four", "eve-unverified").open(&start(&server));
    assert_eq!(unproven.body["code"], "provider_email_unverified");
}

async fn an_account_is_linked_once_both_sides_have_verified_its_address(engine: Engine) {
    let (stage, server, _provider) = stage(engine).await;
    let account = json!({ "username": "ada", "email": "ada@example.org", "password": PASSWORD });
    let made = server
        .ask(Method::POST, "/auth/register", None, Some(account))
        .await;
    let browser = Browser::new(&stage, "one", "ada");
    let refused = browser.open(&start(&server));
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (409, &json!("account_exists"))
    );

    let token = until("the link is in the outbox", async || stage.mailed("kfe_")).await;
    let path = "/auth/email/verify";
    let token = json!({ "token": token });
    assert_eq!(
        server
            .ask(Method::POST, path, None, Some(token))
            .await
            .status,
        204
    );
    browser.open(&start(&server));
    assert_eq!(browser.me(&server)["id"], made.body["id"]);

    let session = made.body["access_token"].as_str().unwrap().into();
    let mine = server
        .ask(Method::GET, "/auth/identities", Some(&session), None)
        .await;
    let identity = mine.body["items"][0]["id"].as_str().unwrap();
    let path = format!("/auth/identities/{identity}");
    let gone = server
        .ask(Method::DELETE, &path, Some(&session), None)
        .await;
    assert_eq!(gone.status, 204);
    let mine = server
        .ask(Method::GET, "/auth/identities", Some(&session), None)
        .await;
    assert_eq!(mine.body["items"], json!([]));
}

async fn a_sign_in_counts_once_and_in_its_own_browser(engine: Engine) {
    let (stage, server, provider) = stage(engine).await;
    let browser = Browser::new(&stage, "one", "ada");
    let said = browser.open(&start(&server));
    let callback = said
        .places
        .iter()
        .find(|place| place.contains("/callback?"))
        .unwrap();
    let again = browser.open(callback);
    assert_eq!(
        (again.status, &again.body["code"]),
        (400, &json!("invalid_sign_in"))
    );
    let stolen = Browser::new(&stage, "two", "eve").open(callback);
    assert_eq!(stolen.body["code"], "invalid_sign_in");

    // A code of another sign-in, and an answer that names another issuer.
    let other = Browser::new(&stage, "three", "eve");
    let away = other.leave(&start(&server));
    let state = away
        .split("state=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap();
    let code = callback
        .split("code=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap();
    let issuer = provider.issuer();
    let base = format!("{}/auth/providers/corp/callback", server.url());
    let mixed = other.open(&format!(
        "{base}?code={code}&state={state}&iss=https://evil.example"
    ));
    assert_eq!(mixed.body["code"], "invalid_sign_in");
    let third = Browser::new(&stage, "four", "eve");
    let away = third.leave(&start(&server));
    let state = away
        .split("state=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap();
    let replayed = third.open(&format!("{base}?code={code}&state={state}&iss={issuer}"));
    assert_eq!(
        (replayed.status, &replayed.body["code"]),
        (502, &json!("provider_failed"))
    );
}

async fn a_person_signs_in_from_the_command_line(engine: Engine) {
    let (stage, server, _provider) = stage(engine).await;
    let person = Person::new(&stage, "ada");
    let mut login = Program::start(&stage, "login", binary("keyferry"), |command| {
        let (url, pin) = (server.url(), server.fingerprint());
        command
            .args([
                "login",
                "--provider",
                "corp",
                "--server",
                url,
                "--fingerprint",
                pin,
            ])
            .env("XDG_CONFIG_HOME", stage.path("home-ada"));
    });
    let address = until("it says which address to open", async || {
        let log = login.log();
        let line = log.lines().find(|line| line.contains("/start?"))?;
        Some(line.trim().to_owned())
    });
    let said = Browser::new(&stage, "one", "ada").open(&address.await);
    assert_eq!(said.status, 200, "{said:?}");
    assert!(login.wait().success());
    assert_eq!(person.ask(&["account", "show"])["email"], "ada@example.org");

    let arguments = ["login", "--provider", "other", "--server", server.url()];
    let refused = person.run(&arguments, b"");
    assert_eq!(refused.code, 1);
    assert!(
        refused.errors.contains("it knows: corp"),
        "{}",
        refused.errors
    );
}

/// A browser with a cookie jar of its own, in which somebody signs in as this account.
struct Browser {
    jar: PathBuf,
    account: String,
}

/// Where a browser came by, and what the last server said.
#[derive(Debug)]
struct Said {
    places: Vec<String>,
    status: u16,
    body: Value,
}

impl Browser {
    fn new(stage: &Stage, name: &str, account: &str) -> Self {
        Self {
            jar: stage.path(&format!("jar-{name}")),
            account: account.to_owned(),
        }
    }

    /// Opens an address and follows it to its end.
    fn open(&self, address: &str) -> Said {
        let told = self.curl(&["-L", "-D", "-", address]);
        let (heads, body) = told.rsplit_once("\r\n\r\n").unwrap();
        let places = heads.lines().filter_map(|line| {
            let (name, place) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("location")
                .then(|| place.trim().to_owned())
        });
        let last = heads.rsplit("HTTP/1.1 ").next().unwrap();
        Said {
            places: places.collect(),
            status: last[..3].parse().unwrap(),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }

    /// Opens an address and tells where it leads, without going there.
    fn leave(&self, address: &str) -> String {
        let told = self.curl(&["-D", "-", address]);
        let place = told
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with("location: "));
        place.unwrap()[10..].trim().to_owned()
    }

    fn me(&self, server: &Server) -> Value {
        let told = self.curl(&[&format!("{}/auth/me", server.url())]);
        serde_json::from_str(&told).unwrap()
    }

    fn curl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("curl");
        let account = format!("X-Account: {}", self.account);
        command.args(["-sk", "--max-time", "20", "-H", &account, "-b"]);
        command
            .arg(&self.jar)
            .arg("-c")
            .arg(&self.jar)
            .args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

async fn stage(engine: Engine) -> (Stage, Server, OidcProvider) {
    let stage = Stage::new(engine).await;
    let mut provider = OidcProvider::start(&stage);
    let server = Server::start(&stage);
    provider.meet(&server);
    (stage, server, provider)
}

fn start(server: &Server) -> String {
    format!("{}/auth/providers/corp/start", server.url())
}
