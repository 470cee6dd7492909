//! `keyferry keys put`.

use hyper::Method;
use keyferry_protocol::ids::KeyName;
use serde_json::{Value, json};

use super::policy::terms;
use super::seal::sealed_value;
use super::{one_line, path};
use crate::arguments::{Provider, PutKey};
use crate::error::CliError;
use crate::output::Reply;
use crate::session::SignedIn;

/// Stores a new key.
pub(crate) async fn put(caller: &SignedIn, arguments: PutKey) -> Result<Reply, CliError> {
    let name = &arguments.key.name;
    let policy = policy(caller, &arguments).await?;
    let sealed = sealed_value(caller, name, FIRST_VERSION).await?;
    let provider = provider_of(name, arguments.provider);
    let body = json!({
        "provider": provider, "sealed": sealed, "version": FIRST_VERSION, "policy": policy,
    });
    let stored = caller.send_json(Method::PUT, &path(name), &body).await;
    let key = stored.map_err(|error| match error {
        CliError::Refused(problem) if problem.code == "already_exists" => {
            CliError::KeyExists(name.to_string())
        }
        other => other,
    })?;
    let mut human = format!("stored {}", one_line(&key));
    let reaches_nothing = provider == "custom" && arguments.terms.allowed_hosts.is_empty();
    if reaches_nothing && !arguments.raw {
        human.push_str(&format!(
            "\nIt names no host, so nobody can use it yet: `keyferry keys policy {name} \
             --allow-host HOST`, or `--raw`."
        ));
    }
    Ok(Reply::new(human, key))
}

async fn policy(caller: &SignedIn, arguments: &PutKey) -> Result<Value, CliError> {
    let delivery = if arguments.raw { "raw" } else { "inject" };
    let mut policy = terms(caller, &arguments.terms).await?;
    policy.insert("delivery".into(), delivery.into());
    Ok(policy.into())
}

/// The provider that was named, or the one that the key's name begins with.
fn provider_of(name: &KeyName, named: Option<Provider>) -> &'static str {
    match named {
        Some(Provider::Openai) => "openai",
        Some(Provider::Anthropic) => "anthropic",
        Some(Provider::Google) => "google",
        Some(Provider::Groq) => "groq",
        Some(Provider::Custom) => "custom",
        None => {
            let name = name.to_string();
            let first = name.split(['-', '_', '.']).next().unwrap_or_default();
            PRESETS
                .into_iter()
                .find(|preset| *preset == first)
                .unwrap_or("custom")
        }
    }
}

const FIRST_VERSION: u32 = 1;
const PRESETS: [&str; 4] = ["openai", "anthropic", "google", "groq"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_provider_unless_it_is_given() {
        let name = |text: &str| text.parse::<KeyName>().unwrap();
        assert_eq!(provider_of(&name("groq-prod"), None), "groq");
        assert_eq!(provider_of(&name("openai"), None), "openai");
        assert_eq!(provider_of(&name("openaire"), None), "custom");
        assert_eq!(
            provider_of(&name("openai"), Some(Provider::Custom)),
            "custom"
        );
    }
}
