//! From text to settings that cannot be wrong.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::cache;
#[cfg(test)]
use super::document;
use super::names::{
    ACCESS_MINUTES, BODY_SECONDS, DATABASE_CONNECTIONS, DATABASE_URL, DRAIN_SECONDS,
    FIRST_BYTE_SECONDS, HASH_ROUNDS, HEAD_SECONDS, HOST, JWT_ALGORITHM, JWT_SECRET_KEY, LISTEN,
    MAX_CONNECTIONS, MAX_PER_ADDRESS, PASSWORD_HISTORY, PASSWORD_MIN_LENGTH, PASSWORD_MIN_SCORE,
    PLAIN_HTTP, PORT, PUBLIC_URL, REFRESH_DAYS, REFRESH_GRACE, STOP_SECONDS, SWEEP_SECONDS,
    TLS_SECONDS,
};
use super::{
    AlertSettings, Algorithm, AuditSettings, Config, ConfigError, ConnectionLimits, CookieSettings,
    Database, LimitSettings, LogFormat, MailSettings, MasterKeySource, MetricsSettings, Offers,
    PasswordSettings, Sources, TlsSettings, TokenSettings, TraceSettings, Transport, WebSettings,
};

impl Config {
    /// Parses the settings of all sources.
    pub(crate) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let data_dir = sources.data_dir();
        let config = Self {
            listen: listen(sources)?,
            transport: transport(sources)?,
            database: database(sources, &data_dir)?,
            cache: cache::source(sources)?,
            public_urls: public_urls(sources)?,
            master_key: MasterKeySource::parse(sources)?,
            tokens: tokens(sources)?,
            passwords: passwords(sources)?,
            mail: MailSettings::parse(sources)?,
            connections: connections(sources)?,
            sweep_every: Duration::from_secs(number(sources, SWEEP_SECONDS, 60, 1..=3_600)?),
            limits: LimitSettings::parse(sources)?,
            web: WebSettings::parse(sources)?,
            alerts: AlertSettings::parse(sources)?,
            audit: AuditSettings::parse(sources)?,
            metrics: MetricsSettings::parse(sources)?,
            tls: TlsSettings::parse(sources)?,
            log: LogFormat::parse(sources)?,
            traces: TraceSettings::parse(sources)?,
            cookies: CookieSettings::parse(sources, transport(sources)?)?,
            offers: Offers::parse(sources)?,
            providers: sources.providers.clone(),
            data_dir,
        };
        config.refuse_what_does_not_go_together()?;
        Ok(config)
    }

    fn refuse_what_does_not_go_together(&self) -> Result<(), ConfigError> {
        if self.listen.ip().is_unspecified() && self.public_urls.is_empty() {
            return Err(wrong(
                PUBLIC_URL,
                "say under which URL agents reach this server, since it listens on every address",
            ));
        }
        if self.transport == Transport::Plain && !self.listen.ip().is_loopback() {
            return Err(wrong(
                PLAIN_HTTP,
                "plain HTTP is only possible on a loopback address",
            ));
        }
        Ok(())
    }
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
    Ok(if choice(sources, PLAIN_HTTP)? {
        Transport::Plain
    } else {
        Transport::Tls
    })
}

fn database(sources: &Sources, data_dir: &Path) -> Result<Database, ConfigError> {
    let Some(url) = sources.text(DATABASE_URL) else {
        return Ok(Database::File(data_dir.join("keyferry.db")));
    };
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Database::Postgres {
            url: SecretString::from(url),
            connections: number(sources, DATABASE_CONNECTIONS, 16, 2..=500)?,
        });
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
            .ok_or_else(|| {
                wrong(
                    PUBLIC_URL,
                    "must be http:// or https:// URLs, separated by commas",
                )
            })
    })
    .collect()
}

fn tokens(sources: &Sources) -> Result<TokenSettings, ConfigError> {
    let minutes = number(sources, ACCESS_MINUTES, 15_u64, 1..=1_440)?;
    let days = number(sources, REFRESH_DAYS, 7_u64, 1..=365)?;
    let grace = number(sources, REFRESH_GRACE, 10_u64, 1..=60)?;
    Ok(TokenSettings {
        algorithm: algorithm(sources)?,
        access_life: Duration::from_secs(minutes * 60),
        refresh_life: Duration::from_secs(days * 86_400),
        refresh_grace: Duration::from_secs(grace),
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
        history: number(sources, PASSWORD_HISTORY, 5, 0..=24)?,
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
        agents_first_word: Duration::from_secs(2),
        drain: Duration::from_secs(number(sources, DRAIN_SECONDS, 0, 0..=300)?),
        farewell: seconds(STOP_SECONDS, 10)?,
    })
}

/// A choice that is no unless the operator says yes.
pub(super) fn choice(sources: &Sources, setting: &'static str) -> Result<bool, ConfigError> {
    #[cfg(test)]
    document::note(setting, false, None);
    Ok(said(sources, setting)?.unwrap_or(false))
}

/// A choice that is yes unless the operator says no.
pub(super) fn unless_off(sources: &Sources, setting: &'static str) -> Result<bool, ConfigError> {
    #[cfg(test)]
    document::note(setting, true, None);
    Ok(said(sources, setting)?.unwrap_or(true))
}

fn said(sources: &Sources, setting: &'static str) -> Result<Option<bool>, ConfigError> {
    let word = sources.text(setting);
    let said = word.map(str::parse).transpose();
    said.map_err(|_| wrong(setting, "must be true or false"))
}

pub(super) fn number<N>(
    sources: &Sources,
    setting: &'static str,
    default: N,
    range: RangeInclusive<N>,
) -> Result<N, ConfigError>
where
    N: FromStr + PartialOrd + Display,
{
    #[cfg(test)]
    document::note(setting, &default, Some((range.start(), range.end())));
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

pub(super) fn wrong(name: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Setting {
        name,
        problem: problem.into(),
    }
}
