//! Providers at which people can sign in: the `[[oidc]]` tables of the TOML file.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use super::ConfigError;
use crate::outbound::Url;
use crate::secret::Secret;

/// One provider, by OpenID Connect.
#[derive(Clone)]
pub(crate) struct ProviderSettings {
    /// What its routes are called.
    pub(crate) name: String,
    /// What people call it.
    pub(crate) display_name: String,
    /// Exactly as its tokens say it.
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    /// None for a public client, which proves itself by PKCE alone.
    pub(crate) client_secret: Option<SecretString>,
    /// With spaces between.
    pub(crate) scope: String,
    /// How its tokens may be signed.
    pub(crate) algorithms: Vec<IdTokenAlgorithm>,
    /// Whether whoever signs in there without an account here is given one.
    pub(crate) sign_up: SignUp,
    /// Certificate authorities of its own, as PEM.
    pub(crate) ca_file: Option<PathBuf>,
}

/// Whether a provider brings new users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignUp {
    Allowed,
    Refused,
}

/// A signature that anybody can check and only the provider can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum IdTokenAlgorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// The shape of a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    display_name: Option<String>,
    issuer: String,
    client_id: String,
    client_secret: Option<Secret>,
    client_secret_file: Option<PathBuf>,
    #[serde(default = "usual_scopes")]
    scopes: Vec<String>,
    #[serde(default = "usual_algorithms")]
    algorithms: Vec<IdTokenAlgorithm>,
    #[serde(default = "yes")]
    sign_up: bool,
    ca_file: Option<PathBuf>,
}

impl ProviderSettings {
    /// Reads the tables under `oidc`.
    pub(super) fn parse_all(path: &Path, tables: toml::Value) -> Result<Vec<Self>, ConfigError> {
        let wrong = |problem: String| ConfigError::File {
            path: path.to_owned(),
            problem: format!("[[oidc]]: {problem}"),
        };
        let tables: Vec<Table> = tables
            .try_into()
            .map_err(|cause: toml::de::Error| wrong(cause.message().to_owned()))?;
        let mut all: Vec<Self> = Vec::with_capacity(tables.len());
        for table in tables {
            let name = table.name.clone();
            if all.iter().any(|other| other.name == name) {
                return Err(wrong(format!("two providers are called `{name}`")));
            }
            let parsed = Self::parse(table);
            all.push(parsed.map_err(|problem| wrong(format!("`{name}`: {problem}")))?);
        }
        Ok(all)
    }

    fn parse(table: Table) -> Result<Self, String> {
        if !is_name(&table.name) {
            return Err("a name is 1 to 32 lower case letters, digits and hyphens".to_owned());
        }
        let issuer: Url = table
            .issuer
            .parse()
            .map_err(|cause| format!("issuer: {cause}"))?;
        if issuer.text().contains(['?', '#']) {
            return Err("issuer: has neither a query nor a fragment".to_owned());
        }
        if !table.scopes.iter().any(|scope| scope == "openid") {
            return Err("scopes: `openid` is needed".to_owned());
        }
        if table.algorithms.is_empty() {
            return Err("algorithms: name at least one".to_owned());
        }
        Ok(Self {
            client_secret: client_secret(table.client_secret, table.client_secret_file)?,
            display_name: table.display_name.unwrap_or_else(|| table.name.clone()),
            name: table.name,
            issuer: table.issuer,
            client_id: table.client_id,
            scope: table.scopes.join(" "),
            algorithms: table.algorithms,
            sign_up: if table.sign_up {
                SignUp::Allowed
            } else {
                SignUp::Refused
            },
            ca_file: table.ca_file,
        })
    }
}

fn client_secret(
    own: Option<Secret>,
    file: Option<PathBuf>,
) -> Result<Option<SecretString>, String> {
    match (own, file) {
        (Some(_), Some(_)) => Err("client_secret or client_secret_file, not both".to_owned()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path).map(zeroize::Zeroizing::new);
            let text = text.map_err(|cause| format!("{}: {cause}", path.display()))?;
            Ok(Some(text.trim().into()))
        }
        (own, None) => Ok(own.map(|own| own.expose().into())),
    }
}

/// `exchange` is a route of its own.
fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text != "exchange"
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn usual_scopes() -> Vec<String> {
    ["openid", "email", "profile"].map(str::to_owned).to_vec()
}

fn usual_algorithms() -> Vec<IdTokenAlgorithm> {
    use IdTokenAlgorithm::{EdDsa, Es256, Ps256, Rs256};
    vec![Rs256, Ps256, Es256, EdDsa]
}

const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{ProviderSettings, SignUp};

    fn parse(tables: &str) -> Result<Vec<ProviderSettings>, String> {
        let mut file: toml::Table = tables.parse().unwrap();
        let tables = file.remove("oidc").unwrap();
        ProviderSettings::parse_all(Path::new("keyferry.toml"), tables)
            .map_err(|error| error.to_string())
    }

    const GOOD: &str =
        "[[oidc]]\nname = 'corp'\nissuer = 'https://id.example.org'\nclient_id = 'k'\n";

    #[test]
    fn a_provider_is_an_issuer_and_a_client() {
        let corp = parse(GOOD).unwrap().remove(0);
        assert_eq!(
            (corp.display_name.as_str(), corp.scope.as_str()),
            ("corp", "openid email profile")
        );
        assert_eq!((corp.sign_up, corp.algorithms.len()), (SignUp::Allowed, 4));
    }

    #[test]
    fn what_cannot_be_trusted_is_refused() {
        for (more, told) in [
            ("algorithms = ['none']", "unknown variant"),
            ("algorithms = ['HS256']", "unknown variant"),
            ("algorithms = []", "at least one"),
            ("scopes = ['email']", "`openid`"),
            ("secret = 'x'", "unknown field"),
            ("client_secret_file = '/nonexistent'", "/nonexistent"),
        ] {
            let refused = parse(&format!("{GOOD}{more}\n")).err().unwrap();
            assert!(refused.contains(told), "{more}: {refused}");
        }
        assert!(parse(&GOOD.replace("https", "http")).is_err());
        assert!(parse(&GOOD.replace("'corp'", "'exchange'")).is_err());
        assert!(
            parse(&GOOD.repeat(2))
                .err()
                .unwrap()
                .contains("two providers")
        );
    }
}
