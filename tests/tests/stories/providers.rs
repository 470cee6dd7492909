//! People who sign in by another provider, which is a real one.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_tests::{
    Authority, Browser, Engine, OidcProvider, PASSWORD, Person, Program, Server, Stage,
    on_both_engines, until,
};
use serde_json::json;

on_both_engines!(
    a_newcomer_signs_in_by_a_provider,
    an_account_is_linked_once_both_sides_have_verified_its_address,
    a_sign_in_counts_once_and_in_its_own_browser,
    a_person_signs_in_from_the_command_line,
    a_provider_does_not_stand_in_for_the_second_factor,
    a_provider_of_a_private_authority_is_believed_and_no_impostor,
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
    assert_eq!(log_in((&stage, &server), (&person, "login"), b"").await, 0);
    assert_eq!(person.ask(&["account", "show"])["email"], "ada@example.org");

    let shown = person.ask(&["identities", "list"]);
    assert_eq!(shown["items"][0]["provider"], "corp");
    let other = person.run(&["identities", "unlink", "other"], b"");
    assert_eq!(other.code, 4, "{}", other.errors);
    person.run(&["identities", "unlink", "Corp"], b"").success();
    let none = person.run(&["identities", "list"], b"").success().output;
    assert!(none.contains("no provider signs you in"), "{none}");

    let arguments = ["login", "--provider", "other", "--server", server.url()];
    let refused = person.run(&arguments, b"");
    assert_eq!(refused.code, 1);
    assert!(
        refused.errors.contains("it knows: corp"),
        "{}",
        refused.errors
    );
}

async fn a_provider_does_not_stand_in_for_the_second_factor(engine: Engine) {
    let (stage, server, _provider) = stage(engine).await;
    let ada = Person::new(&stage, "ada");
    assert_eq!(log_in((&stage, &server), (&ada, "newcomer"), b"").await, 0);
    choose_a_password(&stage, &server).await;
    assert_eq!(log_in((&stage, &server), (&ada, "first"), b"").await, 0);
    let codes = ada.set_up_a_second_factor();
    assert_eq!(
        ada.ask(&["tenants", "mfa", "required"])["mfa_required"],
        true
    );

    let browser = Browser::new(&stage, "one", "ada");
    let said = browser.open(&start(&server));
    let owed = said.places.last().unwrap().split_once("/#mfa_token=");
    let (_, owed) = owed.expect("a sign-in that owes a second factor says so");
    assert_eq!(browser.me(&server)["code"], "unauthenticated");
    let mut step = json!({ "mfa_token": owed, "code": "aaaa-aaaa-aaaa-aaaa" });
    let path = "/auth/mfa/verify";
    let wrong = server
        .ask(Method::POST, path, None, Some(step.clone()))
        .await;
    assert_eq!(wrong.body["code"], "invalid_code");
    step["code"] = json!(codes[0]);
    let right = server.ask(Method::POST, path, None, Some(step)).await;
    assert_eq!(
        right.body["user"]["email"], "ada@example.org",
        "{}",
        right.body
    );

    let at = (&stage, &server);
    let wrong = log_in(at, (&ada, "second"), b"aaaa-aaaa-aaaa-aaaa").await;
    assert_eq!(wrong, 3);
    assert_eq!(log_in(at, (&ada, "third"), codes[1].as_bytes()).await, 0);
    ada.run(&["keys", "list"], b"").success();

    // The team still demands what she then has not.
    ada.run(&["mfa", "remove"], codes[2].as_bytes()).success();
    let browser = Browser::new(&stage, "two", "ada");
    browser.open(&start(&server));
    assert_eq!(browser.read(&server, "/keys")["code"], "second_factor_owed");
    assert_eq!(log_in(at, (&ada, "fourth"), b"").await, 0);
    let refused = ada.run(&["keys", "list"], b"");
    assert_eq!(refused.code, 1, "{}", refused.output);
    ada.set_up_a_second_factor();
    ada.run(&["keys", "list"], b"").success();
}

async fn a_provider_of_a_private_authority_is_believed_and_no_impostor(engine: Engine) {
    let authority = Authority::new();
    for (trusted, believed) in [(&authority, true), (&Authority::new(), false)] {
        let stage = Stage::new(engine).await;
        let mut provider = OidcProvider::start_with_tls(&stage, &authority, trusted);
        assert!(provider.issuer().starts_with("https://"));
        let server = Server::start(&stage);
        provider.meet(&server);
        let browser = Browser::new(&stage, "one", "ada");
        let said = browser.open(&start(&server));
        if believed {
            assert_eq!(browser.me(&server)["email"], "ada@example.org", "{said:?}");
        } else {
            assert_eq!(
                (said.status, &said.body["code"]),
                (502, &json!("provider_failed"))
            );
            assert!(said.places.is_empty(), "nobody was sent there");
        }
    }
}

/// Signs in at the provider from the command line, with this second factor; the exit code.
async fn log_in(
    (stage, server): (&Stage, &Server),
    (person, name): (&Person<'_>, &str),
    code: &[u8],
) -> i32 {
    let mut login = person.start(name, &by_corp(server));
    login.feed(code);
    let address = until("it says which address to open", async || asked(&login)).await;
    Browser::new(stage, name, "ada").open(&address);
    login.wait().code().unwrap()
}

/// The address that a login asks to open in a browser.
fn asked(login: &Program) -> Option<String> {
    let log = login.log();
    let line = log.lines().find(|line| line.contains("/start?"))?;
    Some(line.trim().to_owned())
}

/// Whom a provider has brought has none, and ends all sessions by choosing one.
async fn choose_a_password(stage: &Stage, server: &Server) {
    let forgotten = json!({ "email": "ada@example.org" });
    let path = "/auth/password/forgot";
    let asked = server.ask(Method::POST, path, None, Some(forgotten)).await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    let token = stage.mailed_token("kfe_").await;
    let chosen = json!({ "token": token, "new_password": PASSWORD });
    let path = "/auth/password/reset";
    let reset = server.ask(Method::POST, path, None, Some(chosen)).await;
    assert_eq!(reset.status, 204, "{}", reset.body);
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

/// What a person types who signs in there from the command line.
fn by_corp(server: &Server) -> [&str; 7] {
    let (url, pin) = (server.url(), server.fingerprint());
    [
        "login",
        "--provider",
        "corp",
        "--server",
        url,
        "--fingerprint",
        pin,
    ]
}
