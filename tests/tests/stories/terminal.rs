//! What the `keyferry` command asks at a terminal, and what it never shows there.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use keyferry_tests::{Engine, PASSWORD, Person, Secret, Server, Stage, on_both_engines};

on_both_engines!(
    passwords_are_asked_for_and_not_shown,
    a_keys_value_is_asked_for_and_not_shown,
    an_unknown_server_is_compared_by_the_person_before_it_is_told_anything,
);

async fn passwords_are_asked_for_and_not_shown(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::new(&stage, "ada");
    let pin = [
        "--server",
        server.url(),
        "--fingerprint",
        server.fingerprint(),
    ];
    let register = [&["register", "--username", "ada"], &pin[..]].concat();

    let mut differing = ada.at_a_terminal(&register);
    differing.is_asked("New password: ", PASSWORD);
    differing.is_asked("Again: ", "Another-Harbour-7");
    let (code, screen) = differing.ends();
    assert!(code == 1 && screen.contains("differ"), "{code}: {screen}");

    let mut alike = ada.at_a_terminal(&register);
    alike.is_asked("New password: ", PASSWORD);
    alike.is_asked("Again: ", PASSWORD);
    let (code, screen) = alike.ends();
    assert!(code == 0 && !screen.contains(PASSWORD), "{code}: {screen}");

    let mut wrong = ada.at_a_terminal(&["login", "--username", "ada"]);
    wrong.is_asked("Password: ", "Wrong-Harbour-7");
    assert_eq!(wrong.ends().0, 3);
    let mut right = ada.at_a_terminal(&["login", "--username", "ada"]);
    right.is_asked("Password: ", PASSWORD);
    let (code, screen) = right.ends();
    assert!(code == 0 && !screen.contains(PASSWORD), "{code}: {screen}");
}

async fn a_keys_value_is_asked_for_and_not_shown(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let (first, second) = (Secret::fresh(), Secret::fresh());
    for (command, value) in [("put", &first), ("rotate", &second)] {
        let mut asking = ada.at_a_terminal(&["keys", command, "openai"]);
        asking.is_asked("Value: ", value.text());
        let (code, screen) = asking.ends();
        assert!(
            code == 0 && !screen.contains(value.text()),
            "{code}: {screen}"
        );
        let shown = ada.ask(&["keys", "show", "openai"]);
        assert_eq!(shown["key"]["last4"], value.text()[44..], "{shown}");
    }
    let mut empty = ada.at_a_terminal(&["keys", "put", "groq"]);
    empty.is_asked("Value: ", "");
    let (code, screen) = empty.ends();
    assert!(code == 1 && screen.contains("empty"), "{code}: {screen}");
}

async fn an_unknown_server_is_compared_by_the_person_before_it_is_told_anything(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    drop(ada);
    let elsewhere = Person::new(&stage, "elsewhere");
    let login = ["login", "--server", server.url(), "--username", "ada"];

    let mut doubting = elsewhere.at_a_terminal(&login);
    doubting.shows(server.fingerprint());
    doubting.shows("Type yes: ");
    doubting.types("no");
    let (code, screen) = doubting.ends();
    assert!(
        code != 0 && !screen.contains("Password"),
        "{code}: {screen}"
    );

    let mut sure = elsewhere.at_a_terminal(&login);
    sure.shows(server.fingerprint());
    sure.shows("Type yes: ");
    sure.types("yes");
    sure.is_asked("Password: ", PASSWORD);
    assert_eq!(sure.ends().0, 0);
}
