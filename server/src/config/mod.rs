//! What the operator decided, parsed once at start into types that cannot be wrong.

mod sources;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

pub(crate) use sources::Sources;

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
    /// Under which URLs agents reach it; the listening address when empty.
    pub(crate) public_urls: Vec<String>,
    /// The master key itself, when the environment gives it; else it is a file in the data folder.
    pub(crate) master_key: Option<SecretString>,
    pub(crate) tokens: TokenSettings,
    pub(crate) passwords: PasswordSettings,
    pub(crate) connections: ConnectionLimits,
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
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL server, by URL.
    Postgres(String),
}

/// How tokens are made.
pub(crate) struct TokenSettings {
    pub(crate) algorithm: Algorithm,
    pub(crate) access_life: Duration,
    pub(crate) refresh_life: Duration,
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
    /// A settings file cannot be read.
    #[error("cannot read the settings file {path}: {problem}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Config {
    /// Parses the settings of all sources.
    pub(crate) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let data_dir = sources.data_dir();
        let config = Self {
            listen: listen(sources)?,
            transport: transport(sources)?,
            database: database(sources, &data_dir)?,
            public_urls: public_urls(sources)?,
            master_key: master_key(sources)?,
            tokens: tokens(sources)?,
            passwords: passwords(sources)?,
            connections: connections(sources)?,
            data_dir,
        };
        if config.transport == Transport::Plain && !config.listen.ip().is_loopback() {
            return Err(wrong(
                PLAIN_HTTP,
                "plain HTTP is only possible on a loopback address",
            ));
        }
        Ok(config)
    }
}

/// Reads one variable of the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read here and nowhere else"
)]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn listen(sources: &Sources) -> Result<SocketAddr, ConfigError> {
    if let Some(text) = sources.text(LISTEN) {
        return text
            .parse()
            .map_err(|_| wrong(LISTEN, "must be ADDRESS:PORT"));
    }
    let host: IpAddr = match sources.text(HOST) {
        Some("localhost") | None => IpAddr::from([127, 0, 0, 1]),
        Some(text) => text
            .parse()
            .map_err(|_| wrong(HOST, "must be an IP address"))?,
    };
    Ok(SocketAddr::new(
        host,
        number(sources, PORT, 8443, 0..=65_535)?,
    ))
}

fn transport(sources: &Sources) -> Result<Transport, ConfigError> {
    match sources.text(PLAIN_HTTP) {
        None | Some("false") => Ok(Transport::Tls),
        Some("true") => Ok(Transport::Plain),
        Some(_) => Err(wrong(PLAIN_HTTP, "must be true or false")),
    }
}

fn database(sources: &Sources, data_dir: &std::path::Path) -> Result<Database, ConfigError> {
    let Some(url) = sources.text(DATABASE_URL) else {
        return Ok(Database::File(data_dir.join("keyferry.db")));
    };
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Database::Postgres(url.to_owned()));
    }
    let path = url
        .strip_prefix("sqlite://")
        .or_else(|| url.strip_prefix("sqlite:"));
    path.filter(|path| !path.is_empty())
        .map(|path| Database::File(PathBuf::from(path)))
        .ok_or_else(|| wrong(DATABASE_URL, "must start with postgres:// or sqlite:"))
}

fn public_urls(sources: &Sources) -> Result<Vec<String>, ConfigError> {
    let text = sources.text(PUBLIC_URL).unwrap_or_default();
    let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
    urls.map(|url| {
        let host = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"));
        host.filter(|host| !host.is_empty() && !host.contains(['?', '#', '@', ' ']))
            .map(|_| url.trim_end_matches('/').to_owned())
            .ok_or_else(|| wrong(PUBLIC_URL, "must be https:// URLs, separated by commas"))
    })
    .collect()
}

fn master_key(sources: &Sources) -> Result<Option<SecretString>, ConfigError> {
    match (
        sources.text(ENCRYPTION_KEY),
        sources.text(MASTER_ENCRYPTION_KEY),
    ) {
        (Some(one), Some(other)) if one != other => Err(wrong(
            MASTER_ENCRYPTION_KEY,
            "differs from ENCRYPTION_KEY; set one of them",
        )),
        (one, other) => Ok(one.or(other).map(SecretString::from)),
    }
}

fn tokens(sources: &Sources) -> Result<TokenSettings, ConfigError> {
    let minutes = number(sources, ACCESS_MINUTES, 15_u64, 1..=1_440)?;
    let days = number(sources, REFRESH_DAYS, 7_u64, 1..=365)?;
    Ok(TokenSettings {
        algorithm: algorithm(sources)?,
        access_life: Duration::from_secs(minutes * 60),
        refresh_life: Duration::from_secs(days * 86_400),
    })
}

fn algorithm(sources: &Sources) -> Result<Algorithm, ConfigError> {
    match sources.text(JWT_ALGORITHM) {
        None | Some("EdDSA") => Ok(Algorithm::EdDsa),
        Some("HS256") => {
            let secret = SecretString::from(sources.text(JWT_SECRET_KEY).unwrap_or_default());
            if secret.expose_secret().len() < 32 {
                return Err(wrong(JWT_SECRET_KEY, "HS256 needs at least 32 bytes"));
            }
            Ok(Algorithm::Hs256(secret))
        }
        Some(_) => Err(wrong(JWT_ALGORITHM, "must be EdDSA or HS256")),
    }
}

fn passwords(sources: &Sources) -> Result<PasswordSettings, ConfigError> {
    Ok(PasswordSettings {
        cost: number(sources, HASH_ROUNDS, 12, 10..=20)?,
        min_bytes: number(sources, PASSWORD_MIN_LENGTH, 8, 8..=72)?,
        min_score: number(sources, PASSWORD_MIN_SCORE, 2, 0..=4)?,
    })
}

fn connections(sources: &Sources) -> Result<ConnectionLimits, ConfigError> {
    let seconds =
        |setting, default| number(sources, setting, default, 1..=3_600).map(Duration::from_secs);
    Ok(ConnectionLimits {
        total: number(sources, MAX_CONNECTIONS, 12_000, 1..=1_000_000)?,
        per_address: number(sources, MAX_PER_ADDRESS, 1_024, 1..=1_000_000)?,
        tls_handshake: seconds(TLS_SECONDS, 10)?,
        first_byte: seconds(FIRST_BYTE_SECONDS, 30)?,
        head: seconds(HEAD_SECONDS, 10)?,
        body: seconds(BODY_SECONDS, 30)?,
    })
}

fn number<N>(
    sources: &Sources,
    setting: &'static str,
    default: N,
    range: std::ops::RangeInclusive<N>,
) -> Result<N, ConfigError>
where
    N: FromStr + PartialOrd + std::fmt::Display,
{
    let Some(text) = sources.text(setting) else {
        return Ok(default);
    };
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            wrong(
                setting,
                format!("must be a number from {} to {}", range.start(), range.end()),
            )
        })
}

fn wrong(name: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Setting {
        name,
        problem: problem.into(),
    }
}

pub(crate) const DATA_DIR: &str = "KEYFERRY_DATA_DIR";
pub(crate) const LISTEN: &str = "KEYFERRY_LISTEN";
pub(crate) const PLAIN_HTTP: &str = "KEYFERRY_PLAIN_HTTP";
const HOST: &str = "HOST";
const PORT: &str = "PORT";
pub(crate) const PUBLIC_URL: &str = "KEYFERRY_PUBLIC_URL";
const DATABASE_URL: &str = "DATABASE_URL";
const ENCRYPTION_KEY: &str = "ENCRYPTION_KEY";
const MASTER_ENCRYPTION_KEY: &str = "MASTER_ENCRYPTION_KEY";
const JWT_ALGORITHM: &str = "JWT_ALGORITHM";
const JWT_SECRET_KEY: &str = "JWT_SECRET_KEY";
const ACCESS_MINUTES: &str = "AUTH_ACCESS_TOKEN_EXPIRE_MINUTES";
const REFRESH_DAYS: &str = "AUTH_REFRESH_TOKEN_EXPIRE_DAYS";
const HASH_ROUNDS: &str = "AUTH_PASSWORD_HASH_ROUNDS";
const PASSWORD_MIN_LENGTH: &str = "AUTH_PASSWORD_MIN_LENGTH";
const PASSWORD_MIN_SCORE: &str = "AUTH_PASSWORD_MIN_SCORE";
const MAX_CONNECTIONS: &str = "KEYFERRY_MAX_CONNECTIONS";
const MAX_PER_ADDRESS: &str = "KEYFERRY_MAX_CONNECTIONS_PER_ADDRESS";
const TLS_SECONDS: &str = "KEYFERRY_TLS_HANDSHAKE_SECONDS";
const FIRST_BYTE_SECONDS: &str = "KEYFERRY_FIRST_BYTE_SECONDS";
const HEAD_SECONDS: &str = "KEYFERRY_HEAD_SECONDS";
const BODY_SECONDS: &str = "KEYFERRY_BODY_SECONDS";

/// Every setting there is, by its environment name. In a TOML file the same name in lower case.
const SETTINGS: [&str; 22] = [
    DATA_DIR,
    LISTEN,
    PLAIN_HTTP,
    HOST,
    PORT,
    PUBLIC_URL,
    DATABASE_URL,
    ENCRYPTION_KEY,
    MASTER_ENCRYPTION_KEY,
    JWT_ALGORITHM,
    JWT_SECRET_KEY,
    ACCESS_MINUTES,
    REFRESH_DAYS,
    HASH_ROUNDS,
    PASSWORD_MIN_LENGTH,
    PASSWORD_MIN_SCORE,
    MAX_CONNECTIONS,
    MAX_PER_ADDRESS,
    TLS_SECONDS,
    FIRST_BYTE_SECONDS,
    HEAD_SECONDS,
    BODY_SECONDS,
];

#[cfg(test)]
impl Config {
    /// The defaults, with the cheapest hash that is allowed.
    pub(crate) fn for_tests() -> Self {
        let cheap = Sources::from_pairs([(HASH_ROUNDS, "10")]);
        Self::parse(&cheap).expect("the defaults are valid")
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, Config, Database, Sources, Transport};

    fn parse<const N: usize>(pairs: [(&'static str, &str); N]) -> Result<Config, String> {
        Config::parse(&Sources::from_pairs(pairs)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_listen_with_tls_on_loopback() {
        let config = parse([]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8443");
        assert_eq!(config.transport, Transport::Tls);
        assert_eq!(
            config.database,
            Database::File("keyferry-data/keyferry.db".into())
        );
        assert!(matches!(config.tokens.algorithm, Algorithm::EdDsa));
        assert_eq!(config.passwords.cost, 12);
    }

    #[test]
    fn plain_http_beyond_loopback_is_refused() {
        let refused = parse([("KEYFERRY_PLAIN_HTTP", "true"), ("HOST", "0.0.0.0")]);
        assert!(refused.err().unwrap().contains("loopback"));
        parse([("KEYFERRY_PLAIN_HTTP", "true"), ("HOST", "::1")]).unwrap();
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
        let postgres = parse([("DATABASE_URL", "postgres://u@/k?host=/run")]).unwrap();
        assert!(matches!(postgres.database, Database::Postgres(_)));
        let file = parse([("DATABASE_URL", "sqlite:///var/k.db")]).unwrap();
        assert_eq!(file.database, Database::File("/var/k.db".into()));
        assert!(parse([("DATABASE_URL", "mysql://x")]).is_err());
    }

    #[test]
    fn two_master_keys_that_differ_are_refused() {
        assert!(parse([("ENCRYPTION_KEY", "a"), ("MASTER_ENCRYPTION_KEY", "b")]).is_err());
        assert!(parse([("ENCRYPTION_KEY", "a"), ("MASTER_ENCRYPTION_KEY", "a")]).is_ok());
    }
}
