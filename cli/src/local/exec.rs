//! `keyferry exec`: the command finds tokens and the proxy's address where SDKs look for keys.
//!
//! This process becomes the command, so the tokens that the agent made for it end with it, and its
//! signals and exit code are its own.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use keyferry_sdk::{Client, Error, Proxied, RefusalCode};

use crate::arguments::Exec;
use crate::error::CliError;
use crate::output::Reply;

/// Does not return when the command runs.
pub(crate) async fn exec(arguments: &Exec) -> Result<Reply, CliError> {
    let client = Client::connect_to(&arguments.agent.socket).await?;
    let keys = if arguments.keys.is_empty() {
        every_key(&client).await?
    } else {
        named_keys(&client, arguments).await?
    };
    let Some((program, rest)) = arguments.command.split_first() else {
        return Err(CliError::NoKeys);
    };
    let mut command = Command::new(program);
    command.args(rest);
    for (name, value) in variables(&keys)? {
        command.env(name, value);
    }
    if other_proxies_are_set() {
        let before = ["no_proxy", "NO_PROXY"].map(std::env::var_os);
        for (name, list) in without_proxy(before) {
            command.env(name, list);
        }
    }
    // A second credential beside the token would go to the provider too.
    if keys.iter().any(|key| key.provider == "anthropic") {
        command.env_remove("ANTHROPIC_AUTH_TOKEN");
    }
    Err(CliError::Exec {
        program: program.into(),
        source: command.exec(),
    })
}

async fn named_keys(client: &Client, arguments: &Exec) -> Result<Vec<Proxied>, CliError> {
    let mut keys: Vec<Proxied> = Vec::new();
    for name in &arguments.keys {
        let key = client.proxied(name.as_str()).await?;
        keys.push(key);
    }
    // The first one named counts where an SDK has room for one.
    let mut providers = Vec::new();
    for key in &mut keys {
        if providers.contains(&key.provider) {
            key.provider = "custom".to_owned();
        } else if key.provider != "custom" {
            providers.push(key.provider.clone());
        }
    }
    Ok(keys)
}

/// Every key that this user may have now.
async fn every_key(client: &Client) -> Result<Vec<Proxied>, CliError> {
    let mut keys = Vec::new();
    for key in client.status().await?.keys {
        if key.state != "live" {
            continue;
        }
        match client.proxied(&key.name).await {
            Ok(key) => keys.push(key),
            Err(Error::Refused(refusal)) if refusal.code == RefusalCode::NotPermitted => {}
            Err(error) => return Err(error.into()),
        }
    }
    if keys.is_empty() {
        return Err(CliError::NoKeys);
    }
    // A key that is called like its provider is the one that is meant.
    let called: Vec<_> = keys.iter().map(|key| key.name.clone()).collect();
    for key in &mut keys {
        if key.name != key.provider && called.contains(&key.provider) {
            key.provider = "custom".to_owned();
        }
    }
    Ok(keys)
}

/// What the SDKs read, and for each key what programs of one's own can read.
fn variables(keys: &[Proxied]) -> Result<Vec<(String, String)>, CliError> {
    let mut variables = Vec::new();
    let mut seen: Vec<&Proxied> = Vec::new();
    for key in keys {
        let name = own_name(&key.name);
        variables.push((format!("KEYFERRY_{name}_BASE_URL"), key.base_url.clone()));
        variables.push((format!("KEYFERRY_{name}_TOKEN"), key.token.clone()));
        let Some(sdk) = sdk_of(&key.provider) else {
            continue;
        };
        if let Some(other) = seen.iter().find(|other| other.provider == key.provider) {
            let (one, other) = (other.name.clone(), key.name.clone());
            return Err(CliError::WhichKey { one, other });
        }
        seen.push(key);
        variables.push((
            sdk.base_url.to_owned(),
            format!("{}{}", key.base_url, sdk.path),
        ));
        let tokens = sdk.tokens.iter();
        variables.extend(tokens.map(|name| ((*name).to_owned(), key.token.clone())));
    }
    Ok(variables)
}

/// Where an SDK looks.
struct Sdk {
    base_url: &'static str,
    path: &'static str,
    tokens: &'static [&'static str],
}

fn sdk_of(provider: &str) -> Option<Sdk> {
    let (base_url, path, tokens): (_, _, &[_]) = match provider {
        "openai" => ("OPENAI_BASE_URL", "/v1", &["OPENAI_API_KEY"]),
        "anthropic" => ("ANTHROPIC_BASE_URL", "", &["ANTHROPIC_API_KEY"]),
        "groq" => ("GROQ_BASE_URL", "", &["GROQ_API_KEY"]),
        "google" => (
            "GOOGLE_GEMINI_BASE_URL",
            "",
            &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        ),
        _ => return None,
    };
    Some(Sdk {
        base_url,
        path,
        tokens,
    })
}

/// `groq-prod` is `GROQ_PROD`.
fn own_name(key: &str) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    key.chars().map(letter).collect()
}

/// Where a proxy is set, requests to 127.0.0.1 would go there.
fn other_proxies_are_set() -> bool {
    ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Programs look at one of the two names, some at the one first and some at the other: an exception
/// that stood under one of them holds for all.
fn without_proxy([small, large]: [Option<OsString>; 2]) -> [(&'static str, OsString); 2] {
    let said = |list: Option<OsString>| list.filter(|list| !list.is_empty());
    let (small, large) = (said(small), said(large));
    let with_ours = |list: Option<OsString>| match list {
        // Everything is an exception, and only so written.
        Some(list) if list == "*" => list,
        Some(mut list) => {
            list.push(",127.0.0.1");
            list
        }
        None => OsString::from("127.0.0.1"),
    };
    [
        ("no_proxy", with_ours(small.clone().or(large.clone()))),
        ("NO_PROXY", with_ours(large.or(small))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, provider: &str) -> Proxied {
        Proxied {
            name: name.to_owned(),
            provider: provider.to_owned(),
            base_url: "http://127.0.0.1:9".to_owned(),
            token: format!("kfp_{name}"),
        }
    }

    fn told(keys: &[Proxied]) -> Vec<String> {
        let pair = |(name, value)| format!("{name}={value}");
        variables(keys).unwrap().into_iter().map(pair).collect()
    }

    #[test]
    fn sdks_find_what_they_look_for() {
        assert_eq!(
            told(&[key("openai", "openai"), key("g", "google")]),
            [
                "KEYFERRY_OPENAI_BASE_URL=http://127.0.0.1:9",
                "KEYFERRY_OPENAI_TOKEN=kfp_openai",
                "OPENAI_BASE_URL=http://127.0.0.1:9/v1",
                "OPENAI_API_KEY=kfp_openai",
                "KEYFERRY_G_BASE_URL=http://127.0.0.1:9",
                "KEYFERRY_G_TOKEN=kfp_g",
                "GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:9",
                "GEMINI_API_KEY=kfp_g",
                "GOOGLE_API_KEY=kfp_g",
            ]
        );
    }

    #[test]
    fn a_custom_key_has_variables_of_its_own_name() {
        assert_eq!(
            told(&[key("my-api.v2", "custom")]),
            [
                "KEYFERRY_MY_API_V2_BASE_URL=http://127.0.0.1:9",
                "KEYFERRY_MY_API_V2_TOKEN=kfp_my-api.v2"
            ]
        );
    }

    #[test]
    fn two_keys_for_one_sdk_have_to_be_chosen_from() {
        let keys = [key("a", "openai"), key("b", "openai")];
        assert!(matches!(
            variables(&keys),
            Err(CliError::WhichKey { one, other }) if (one.as_str(), other.as_str()) == ("a", "b")
        ));
    }

    #[test]
    fn exceptions_from_a_proxy_are_kept() {
        let lists = |small: Option<&str>, large: Option<&str>| {
            let [small, large] = without_proxy([small, large].map(|list| list.map(Into::into)));
            [small, large].map(|(_name, list)| list.into_string().unwrap())
        };
        assert_eq!(lists(None, Some("")), ["127.0.0.1", "127.0.0.1"]);
        let both = ["x.org,127.0.0.1", "x.org,127.0.0.1"];
        assert_eq!(lists(Some("x.org"), None), both);
        assert_eq!(lists(None, Some("x.org")), both);
        let each = ["x.org,127.0.0.1", "y.org,127.0.0.1"];
        assert_eq!(lists(Some("x.org"), Some("y.org")), each);
        assert_eq!(lists(Some("*"), None), ["*", "*"]);
    }
}
