//! `docs/SETTINGS.md`, held against what the parser does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;

use super::names::{LOG, SETTINGS, SMTP_HOST};
use super::{Config, Sources};

/// What the parser takes where nothing is set, and the bounds of a number.
#[derive(Clone)]
struct Noted {
    default: String,
    bounds: Option<(String, String)>,
}

/// One setting of the document.
struct Row {
    default: &'static str,
    what: &'static str,
}

thread_local! {
    static NOTED: RefCell<BTreeMap<&'static str, Noted>> = RefCell::default();
}

/// The parser says what a setting's default is.
pub(super) fn note(
    setting: &'static str,
    default: impl Display,
    bounds: Option<(&dyn Display, &dyn Display)>,
) {
    let noted = Noted {
        default: default.to_string(),
        bounds: bounds.map(|(least, most)| (least.to_string(), most.to_string())),
    };
    NOTED.with_borrow_mut(|all| all.insert(setting, noted));
}

/// The rows of the document's tables by the names in their first cells.
fn document() -> Vec<(&'static str, Row)> {
    let text = include_str!("../../../docs/SETTINGS.md");
    let rows = text.lines().filter_map(|line| {
        let cells = line.strip_prefix("| `")?.split('|');
        let [names, default, what, ""] = cells.collect::<Vec<_>>()[..] else {
            panic!("a row has another form: {line}")
        };
        let names = names
            .split('`')
            .filter(|name| name.starts_with(char::is_uppercase));
        let default = default.trim_matches([' ', '`']);
        let row = move |name| (name, Row { default, what });
        Some(names.map(row).collect::<Vec<_>>())
    });
    rows.flatten().collect()
}

#[test]
fn every_setting_is_in_the_document_and_nothing_else() {
    let mut told: Vec<_> = document().into_iter().map(|(name, _)| name).collect();
    let mut known: Vec<_> = SETTINGS.iter().copied().chain([LOG]).collect();
    told.sort_unstable();
    known.sort_unstable();
    assert_eq!(told, known);
}

#[test]
fn the_documents_defaults_and_bounds_are_those_of_the_parser() {
    let with_mail = Sources::from_pairs([(SMTP_HOST, "localhost")]);
    Config::parse(&with_mail).unwrap();
    let noted = NOTED.with_borrow(Clone::clone);
    assert!(noted.len() > 30, "{}", noted.len());
    let rows: BTreeMap<_, _> = document().into_iter().collect();
    for (name, noted) in noted {
        let row = &rows[name];
        assert_eq!(row.default, noted.default, "{name}");
        let Some((least, most)) = noted.bounds else {
            continue;
        };
        let told = row.what.contains(&format!("{least} to {most}"));
        let wide = most.len() > 4 && !names_bounds(row.what);
        assert!(
            told || wide,
            "{name}: {least} to {most} is not what `{}` says",
            row.what
        );
    }
}

/// Whether a text says from which number to which.
fn names_bounds(text: &str) -> bool {
    let parts: Vec<&str> = text.split(" to ").collect();
    let number = |letter: char| letter.is_ascii_digit();
    parts
        .windows(2)
        .any(|pair| pair[0].ends_with(number) && pair[1].starts_with(number))
}

#[test]
fn every_default_that_is_a_value_is_one_that_the_parser_takes() {
    for (name, row) in document() {
        let a_value = !row.default.is_empty() && !row.default.contains(' ') || name == "MAIL_FROM";
        let known = SETTINGS.iter().find(|known| **known == name);
        if let (true, Some(known)) = (a_value, known) {
            let set = Sources::from_pairs([(*known, row.default)]);
            let parsed = Config::parse(&set);
            assert!(
                parsed.is_ok(),
                "{name} = {}: {:?}",
                row.default,
                parsed.err()
            );
        }
    }
}
