use std::time::Duration;

use keyferry_protocol::ids::KeyName;

use super::*;

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
}

#[test]
fn a_full_file_is_read() {
    let text = r#"
        allow_degraded = true
        socket_group = "keyferry"
        client_certificate = "/etc/keyferry/client.pem"
        client_key = "/etc/keyferry/client-key.pem"
        [policy]
        uids = [1000]
        gids = [100]
        programs_socket = "/run/keyferry-programs.sock"
        [policy.keys.openai]
        uids = [1001]
        programs = [{ exe = "/usr/bin/python3" }]
        [proxy]
        allow_private = ["localhost"]
        [limits]
        connections = 4
        [reconnect]
        first_ms = 10
        [session]
        renew_seconds = 60
    "#;
    let config: Config = toml::from_str(text).unwrap();
    let openai: KeyName = "openai".parse().unwrap();
    assert_eq!(config.policy.keys[&openai].uids, [1001]);
    assert!(config.policy.tells_programs_apart());
    let limits = &config.limits;
    assert_eq!(
        (limits.connections.get(), limits.pages_per_connection.get()),
        (4, 32)
    );
    let (first, life) = (config.reconnect.first_ms, config.session.renew_seconds);
    assert_eq!(first.milliseconds(), Duration::from_millis(10));
    assert_eq!(life.seconds(), Duration::from_secs(60));
}

/// The sections of docs/AGENT.md, each with its rows: name, default, what.
fn document() -> Vec<(String, Vec<[String; 3]>)> {
    let text = include_str!("../../../docs/AGENT.md");
    let sections = text.split("\n## ").skip(1).map(|section| {
        let rows = section.lines().filter_map(|line| {
            let cells = line
                .strip_prefix("| `")?
                .trim_end_matches('|')
                .splitn(3, '|');
            let cells: Vec<_> = cells
                .map(|cell| cell.trim_matches([' ', '`']).to_owned())
                .collect();
            Some(cells.try_into().unwrap())
        });
        let heading = section.lines().next().unwrap().replace("NAME", "openai");
        (heading, rows.collect())
    });
    sections.collect()
}

#[test]
fn every_setting_is_in_the_document_with_its_default_and_bounds() {
    let rule = "[policy.keys.openai]";
    for (heading, rows) in document() {
        let section = Some(heading.as_str()).filter(|heading| heading.starts_with('['));
        let section = section.unwrap_or_default();
        let parse = |line: &str| toml::from_str::<Config>(&format!("{section}\n{line}\n"));
        let unknown = parse("no_such_name = 1").unwrap_err().to_string();
        let (_, known) = unknown.split_once(", expected ").unwrap();
        let mut known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
        let tables = ["policy", "proxy", "limits", "reconnect", "session"];
        known.retain(|name| !section.is_empty() || !tables.contains(name));
        let told: Vec<_> = rows.iter().map(|[name, ..]| name.as_str()).collect();
        assert_eq!(told, known, "{heading}");
        for [name, default, what] in &rows {
            if !default.is_empty() && section != rule {
                let set = parse(&format!("{name} = {default}"));
                assert_eq!(set.unwrap(), Config::default(), "{name}");
            }
            if let Some(most) = what.split("1 to ").nth(1) {
                let digits = most.split(|letter: char| !letter.is_ascii_digit());
                let most: u64 = digits.into_iter().next().unwrap().parse().unwrap();
                assert!(parse(&format!("{name} = {most}")).is_ok(), "{name}");
                assert!(parse(&format!("{name} = {}", most + 1)).is_err(), "{name}");
            }
        }
    }
}

#[test]
fn a_misspelt_setting_is_refused() {
    for text in [
        "allow_degradded = true",
        "[policy.keys.openai]\nuid = [1]",
        "[policy.keys.openai]\nprograms = [{ sha256 = \"12\" }]",
        "[session]\nrenew_seconds = 0",
        "[session]\nrenew_seconds = 3301",
        "[limits]\nconnections = 0",
        "[limits]\nproxy_connections = 18446744073709551615",
        "[reconnect]\nlongest_ms = 0",
        "[policy.keys.\"open ai\"]\nuids = [1]",
        "[policy.keys.openai]\nprograms = [{}]",
    ] {
        assert!(toml::from_str::<Config>(text).is_err(), "{text}");
    }
}
