//! Where settings come from: flags, then the environment, then `.env`, then the TOML file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::names::{DATA_DIR, LOG, SETTINGS};
use super::{ConfigError, ProviderSettings};

/// The settings as text, the first source that has one wins. Wiped on drop, for some are secrets.
pub(crate) struct Sources {
    texts: HashMap<&'static str, Zeroizing<String>>,
    /// What has no form as one text, from the TOML file alone.
    pub(super) providers: Vec<ProviderSettings>,
    /// Names that look like settings and are none.
    unknown: Vec<String>,
}

impl Sources {
    /// Settings from flags alone.
    pub(crate) fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'static str, &'a str)>) -> Self {
        let mut sources = Self {
            texts: HashMap::new(),
            providers: Vec::new(),
            unknown: Vec::new(),
        };
        for (name, text) in pairs {
            sources.offer(name, text.to_owned());
        }
        sources
    }

    /// Adds what the environment says and no flag did.
    pub(crate) fn and_environment(mut self, read: impl Fn(&str) -> Option<String>) -> Self {
        for name in SETTINGS.iter().copied() {
            if let Some(text) = read(name) {
                self.offer(name, text);
            }
        }
        self
    }

    /// Remembers which of these names are like ours and mean nothing.
    pub(crate) fn noting_unknown(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.unknown.extend(names.into_iter().filter(|name| {
            name.starts_with("KEYFERRY_") && !is_known(name) && !is_of_others(name)
        }));
        self
    }

    /// Refuses what was remembered, for it is misspelt.
    pub(crate) fn refuse_unknown(&self) -> Result<(), ConfigError> {
        let Some(name) = self.unknown.first() else {
            return Ok(());
        };
        Err(ConfigError::Unknown { name: name.clone() })
    }

    /// Adds the folder, unless another one is named.
    pub(crate) fn and_data_dir(mut self, path: &str) -> Self {
        self.offer(DATA_DIR, path.to_owned());
        self
    }

    /// Whether somebody has said where the data is.
    pub(crate) fn names_data_dir(&self) -> bool {
        self.text(DATA_DIR).is_some()
    }

    /// Adds what a `.env` file says; it need not exist.
    pub(crate) fn and_dotenv(mut self, path: &Path) -> Result<Self, ConfigError> {
        if !path.exists() {
            return Ok(self);
        }
        let broken = |cause: dotenvy::Error| ConfigError::File {
            path: path.to_owned(),
            problem: match cause {
                // The whole line, which may hold a secret, stays out of the message.
                dotenvy::Error::LineParse(..) => "a line is not NAME=VALUE".to_owned(),
                other => other.to_string(),
            },
        };
        for pair in dotenvy::from_path_iter(path).map_err(broken)? {
            let (name, text) = pair.map_err(broken)?;
            match SETTINGS.iter().find(|known| **known == name) {
                Some(known) => self.offer(known, text),
                None => self = self.noting_unknown([name]),
            }
        }
        Ok(self)
    }

    /// Adds what a TOML file says. Names it does not know are refused, so that none is misspelt.
    pub(crate) fn and_toml(mut self, path: &Path) -> Result<Self, ConfigError> {
        let broken = |problem: String| ConfigError::File {
            path: path.to_owned(),
            problem,
        };
        let text = std::fs::read_to_string(path).map_err(|cause| broken(cause.to_string()))?;
        let text = Zeroizing::new(text);
        let table: toml::Table = text
            .parse()
            .map_err(|cause: toml::de::Error| broken(cause.message().to_owned()))?;
        for (name, value) in table {
            if name == "oidc" {
                self.providers = ProviderSettings::parse_all(path, value)?;
                continue;
            }
            let known = SETTINGS
                .iter()
                .find(|known| known.eq_ignore_ascii_case(&name));
            let known = known.ok_or_else(|| broken(format!("there is no setting `{name}`")))?;
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(choice) => choice.to_string(),
                _ => {
                    return Err(broken(format!(
                        "`{name}` must be a text, number or boolean"
                    )));
                }
            };
            self.offer(known, text);
        }
        Ok(self)
    }

    /// The data folder as far as it is known, for it may hold the TOML file.
    pub(crate) fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.text(DATA_DIR).unwrap_or("keyferry-data"))
    }

    /// The setting, unless it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts
            .get(name)
            .map(|text| text.as_str())
            .filter(|text| !text.is_empty())
    }

    fn offer(&mut self, name: &'static str, text: String) {
        let text = Zeroizing::new(text);
        self.texts.entry(name).or_insert(text);
    }
}

fn is_known(name: &str) -> bool {
    name == LOG || SETTINGS.contains(&name)
}

/// What docker-compose.yml, our scripts and Kubernetes (for a service that is called after the
/// program) set.
fn is_of_others(name: &str) -> bool {
    name.contains("_PORT") || name.contains("_SERVICE_") || SCRIPTS.contains(&name)
}

const SCRIPTS: [&str; 3] = ["KEYFERRY_SERVER", "KEYFERRY_BUILT", "KEYFERRY_DEMO_BUILT"];

#[cfg(test)]
mod tests {
    use super::Sources;

    #[test]
    fn a_misspelt_setting_of_the_environment_is_refused() {
        let of = |name: &str| Sources::from_pairs([]).noting_unknown([name.to_owned()]);
        let refused = of("KEYFERRY_LISTN").refuse_unknown().unwrap_err();
        assert!(refused.to_string().contains("KEYFERRY_LISTN"), "{refused}");
        for fine in [
            "KEYFERRY_LISTEN",
            "KEYFERRY_LOG",
            "KEYFERRY_PORT",
            "KEYFERRY_PORT_8443_TCP_ADDR",
            "KEYFERRY_SERVICE_HOST",
            "KEYFERRY_SERVER",
            "HOME",
        ] {
            of(fine).refuse_unknown().unwrap();
        }
    }

    #[test]
    fn flags_win_over_environment_over_dotenv_over_toml() {
        let folder = tempfile::tempdir().unwrap();
        let (dotenv, toml) = (
            folder.path().join(".env"),
            folder.path().join("keyferry.toml"),
        );
        std::fs::write(
            &dotenv,
            "HOST=dotenv\nPORT=2\nJWT_ALGORITHM=dotenv\nOTHER=x\n",
        )
        .unwrap();
        std::fs::write(&toml, "host = 'toml'\nport = 1\njwt_secret_key = 'toml'\n").unwrap();
        let sources = Sources::from_pairs([("HOST", "flag")])
            .and_environment(|name| (name == "PORT").then(|| "3".to_owned()))
            .and_dotenv(&dotenv)
            .and_then(|sources| sources.and_toml(&toml))
            .unwrap();
        let read =
            ["HOST", "PORT", "JWT_ALGORITHM", "JWT_SECRET_KEY"].map(|name| sources.text(name));
        assert_eq!(
            read,
            [Some("flag"), Some("3"), Some("dotenv"), Some("toml")]
        );
    }

    #[test]
    fn an_unknown_name_in_the_toml_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let toml = folder.path().join("keyferry.toml");
        std::fs::write(&toml, "hots = 'x'\n").unwrap();
        let refused = Sources::from_pairs([]).and_toml(&toml).err().unwrap();
        assert!(refused.to_string().contains("`hots`"));
    }

    #[test]
    fn a_broken_dotenv_line_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let dotenv = folder.path().join(".env");
        std::fs::write(&dotenv, "JWT_SECRET_KEY \"hush-hush\n").unwrap();
        let refused = Sources::from_pairs([]).and_dotenv(&dotenv).err().unwrap();
        assert!(!refused.to_string().contains("hush"));
    }
}
