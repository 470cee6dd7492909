//! What the operator decided, parsed once at start into types that cannot be wrong.

mod alerts;
mod audit;
mod cache;
mod cookies;
#[cfg(test)]
mod document;
mod limits;
mod log;
mod mail;
mod master_key;
mod metrics;
mod names;
mod offers;
mod parse;
mod providers;
mod sources;
mod tls;
mod traces;
mod web;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::cache::Source;

pub(crate) use alerts::{AlertSettings, Reach, WebhookUrl};
pub(crate) use audit::AuditSettings;
pub(crate) use cookies::CookieSettings;
pub(crate) use limits::LimitSettings;
pub(crate) use log::LogFormat;
pub(crate) use mail::{MailSettings, SmtpSettings, SmtpTls};
pub(crate) use master_key::MasterKeySource;
pub(crate) use metrics::MetricsSettings;
pub(crate) use names::{DATA_DIR, LISTEN, LOG, PLAIN_HTTP, PUBLIC_URL};
pub(crate) use offers::Offers;
pub(crate) use providers::{IdTokenAlgorithm, ProviderSettings, SignUp};
pub(crate) use sources::Sources;
pub(crate) use tls::{Certified, Pinning, TlsSettings};
pub(crate) use traces::{Batches, Callers, Sampling, TraceSettings};
pub(crate) use web::{AllowedHosts, SessionBinding, WebSettings};

/// Everything that can be set.
pub(crate) struct Config {
    /// Where the server keeps its keys, its certificate and its database file.
    pub(crate) data_dir: PathBuf,
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// How its connections are protected.
    pub(crate) transport: Transport,
    /// Which database it uses.
    pub(crate) database: Database,
    /// What several servers share for what may be lost.
    pub(crate) cache: Option<Arc<Source>>,
    /// Under which URLs agents reach it; the listening address when empty.
    pub(crate) public_urls: Vec<String>,
    /// Where the master key comes from.
    pub(crate) master_key: MasterKeySource,
    pub(crate) tokens: TokenSettings,
    pub(crate) passwords: PasswordSettings,
    pub(crate) mail: MailSettings,
    pub(crate) connections: ConnectionLimits,
    /// How often what has ended is thrown away: overlapped versions, tickets, credentials.
    pub(crate) sweep_every: Duration,
    pub(crate) limits: LimitSettings,
    pub(crate) web: WebSettings,
    pub(crate) cookies: CookieSettings,
    pub(crate) offers: Offers,
    pub(crate) alerts: AlertSettings,
    pub(crate) audit: AuditSettings,
    pub(crate) metrics: MetricsSettings,
    pub(crate) tls: TlsSettings,
    pub(crate) log: LogFormat,
    /// The collector of traces; none unless one is named.
    pub(crate) traces: Option<TraceSettings>,
    /// Where people can sign in beside here.
    pub(crate) providers: Vec<ProviderSettings>,
}

/// How connections are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TLS 1.3.
    Tls,
    /// Plain HTTP, on a loopback address only.
    Plain,
}

/// Which database.
pub(crate) enum Database {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL server.
    Postgres {
        /// It may have a password in it.
        url: SecretString,
        /// How many connections to it are opened at most.
        connections: u32,
    },
}

impl fmt::Display for Database {
    /// Where it is, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match self {
            Self::File(path) => return write!(f, "{}", path.display()),
            Self::Postgres { url, .. } => PgConnectOptions::from_str(url.expose_secret()),
        };
        let Ok(server) = url else {
            return f.write_str("of DATABASE_URL");
        };
        let name = server.get_database().unwrap_or("postgres");
        match server.get_socket() {
            Some(folder) => write!(f, "{name} at {}", folder.display()),
            None => write!(f, "{name} at {}:{}", server.get_host(), server.get_port()),
        }
    }
}

/// How tokens are made.
pub(crate) struct TokenSettings {
    pub(crate) algorithm: Algorithm,
    pub(crate) access_life: Duration,
    pub(crate) refresh_life: Duration,
    /// How long a used refresh token gives its successor again.
    pub(crate) refresh_grace: Duration,
}

/// How access tokens are signed.
pub(crate) enum Algorithm {
    /// Ed25519, with published keys.
    EdDsa,
    /// HMAC-SHA256 with a shared secret of at least 32 bytes.
    Hs256(SecretString),
}

/// What a password must be, and how it is hashed.
#[derive(Clone)]
pub(crate) struct PasswordSettings {
    pub(crate) cost: u32,
    pub(crate) min_bytes: usize,
    /// The least `zxcvbn` score, 0 to 4.
    pub(crate) min_score: u8,
    /// So many passwords, with the present one, are not used again.
    pub(crate) history: u16,
}

/// Bounds on what strangers can make the server hold.
#[derive(Clone)]
pub(crate) struct ConnectionLimits {
    pub(crate) total: usize,
    pub(crate) per_address: usize,
    pub(crate) tls_handshake: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) head: Duration,
    pub(crate) body: Duration,
    /// An agent knocks because it has something to say.
    pub(crate) agents_first_word: Duration,
    /// How long everyone is asked to go to another server before this one stops.
    pub(crate) drain: Duration,
    /// How long what is under way may take after that.
    pub(crate) farewell: Duration,
}

/// Why the server does not start with these settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A setting has a wrong value.
    #[error("{name}: {problem}")]
    Setting {
        /// The setting, as the operator wrote it.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A name of the environment means nothing.
    #[error("there is no setting {name}: see docs/SETTINGS.md, or take it out of the environment")]
    Unknown {
        /// As it was written.
        name: String,
    },
    /// A settings file cannot be read.
    #[error("cannot read the settings file {path}: {problem}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads one variable of the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read here and nowhere else"
)]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The names of its variables, as far as they are text.
pub(crate) fn environment_names() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

#[cfg(test)]
impl Config {
    /// The defaults, with the cheapest hash that is allowed.
    pub(crate) fn for_tests() -> Self {
        let cheap = Sources::from_pairs([(names::HASH_ROUNDS, "10")]);
        Self::parse(&cheap).expect("the defaults are valid")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Algorithm, Config, Database, Sources, Transport};

    fn file(config: &Config) -> &Path {
        match &config.database {
            Database::File(path) => path,
            Database::Postgres { .. } => panic!("it is no file"),
        }
    }

    fn parse<const N: usize>(pairs: [(&'static str, &str); N]) -> Result<Config, String> {
        Config::parse(&Sources::from_pairs(pairs)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_listen_with_tls_on_loopback() {
        let config = parse([]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8443");
        assert_eq!(config.transport, Transport::Tls);
        assert_eq!(file(&config), Path::new("keyferry-data/keyferry.db"));
        assert!(matches!(config.tokens.algorithm, Algorithm::EdDsa));
        assert_eq!(config.passwords.cost, 12);
    }

    #[test]
    fn where_a_database_is_is_told_without_its_password() {
        for (url, told) in [
            (
                "postgres://ada:hush@db.example.org:5433/keys",
                "keys at db.example.org:5433",
            ),
            (
                "postgres:///keys?host=/run/pg&password=hush",
                "keys at /run/pg",
            ),
            ("sqlite:///var/k.db", "/var/k.db"),
        ] {
            let database = parse([("DATABASE_URL", url)]).unwrap().database;
            assert_eq!(database.to_string(), told);
        }
    }

    #[test]
    fn plain_http_beyond_loopback_is_refused() {
        let refused = parse([
            ("KEYFERRY_PLAIN_HTTP", "true"),
            ("HOST", "0.0.0.0"),
            ("KEYFERRY_PUBLIC_URL", "http://keys.example.org"),
        ]);
        assert!(refused.err().unwrap().contains("loopback"));
        parse([("KEYFERRY_PLAIN_HTTP", "true"), ("HOST", "::1")]).unwrap();
    }

    #[test]
    fn listening_on_every_address_needs_a_public_url() {
        let refused = parse([("HOST", "0.0.0.0")]).err().unwrap();
        assert!(refused.starts_with("KEYFERRY_PUBLIC_URL: "), "{refused}");
        parse([
            ("HOST", "0.0.0.0"),
            ("KEYFERRY_PUBLIC_URL", "https://keys.example.org"),
        ])
        .unwrap();
    }

    #[test]
    fn a_hash_cost_under_ten_is_refused_by_name() {
        let refused = parse([("AUTH_PASSWORD_HASH_ROUNDS", "9")]).err().unwrap();
        assert_eq!(
            refused,
            "AUTH_PASSWORD_HASH_ROUNDS: must be a number from 10 to 20"
        );
    }

    #[test]
    fn a_short_shared_secret_is_refused() {
        let refused = parse([("JWT_ALGORITHM", "HS256"), ("JWT_SECRET_KEY", "short")]);
        assert!(refused.err().unwrap().starts_with("JWT_SECRET_KEY: "));
        assert!(parse([("JWT_ALGORITHM", "none")]).is_err());
    }

    #[test]
    fn the_database_is_chosen_by_its_url() {
        let url = ("DATABASE_URL", "postgres://u@/k?host=/run");
        let postgres = parse([url]).unwrap().database;
        assert!(matches!(
            postgres,
            Database::Postgres {
                connections: 16,
                ..
            }
        ));
        let few = parse([url, ("KEYFERRY_DATABASE_CONNECTIONS", "2")]).unwrap();
        let is_few = matches!(few.database, Database::Postgres { connections: 2, .. });
        assert!(is_few);
        for wrong in ["1", "501", "many"] {
            let refused = parse([url, ("KEYFERRY_DATABASE_CONNECTIONS", wrong)]);
            assert!(refused.err().unwrap().contains("2 to 500"), "{wrong}");
        }
        let sqlite = parse([("DATABASE_URL", "sqlite:///var/k.db")]).unwrap();
        assert_eq!(file(&sqlite), Path::new("/var/k.db"));
        assert!(parse([("DATABASE_URL", "mysql://x")]).is_err());
    }
}
