//! How the way to the database is protected.

use std::fs::File;
use std::net::IpAddr;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::StoreError;
use crate::config::Database;

/// Who could be in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nobody: it does not leave this machine.
    Here,
    /// Nobody: the database shows a certificate that is verified.
    Verified,
    /// Whoever is in the network could be the database.
    Unverified,
}

impl Way {
    /// As the settings have it; a database that they do not lead to is nowhere.
    pub(crate) fn to(database: &Database) -> Self {
        let Database::Postgres { url, .. } = database else {
            return Self::Here;
        };
        PgConnectOptions::from_str(url.expose_secret()).map_or(Self::Unverified, |options| {
            let host = options.get_host();
            let is_here = options.get_socket().is_some()
                || host.starts_with('/')
                || host == "localhost"
                || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
            match options.get_ssl_mode() {
                _ if is_here => Self::Here,
                PgSslMode::VerifyFull | PgSslMode::VerifyCa => Self::Verified,
                _ => Self::Unverified,
            }
        })
    }
}

/// What protects the way is in files, of which sqlx does not say which one it cannot read. A file's
/// contents may stand there as well.
pub(super) fn read_files(url: &SecretString) -> Result<(), StoreError> {
    let Ok(url) = Url::parse(url.expose_secret()) else {
        return Ok(());
    };
    let files = url
        .query_pairs()
        .filter(|(name, file)| FILES.contains(&&**name) && !file.contains("-----BEGIN"));
    for (name, file) in files {
        File::open(&*file).map_err(|cause| StoreError::Unreadable {
            setting: format!("{name}={file}"),
            cause,
        })?;
    }
    Ok(())
}

const FILES: [&str; 7] = [
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
];

#[cfg(test)]
mod tests {
    use super::{Way, read_files};
    use crate::config::Database;

    #[test]
    fn who_could_be_in_between_is_told_by_the_url() {
        for (url, way) in [
            ("postgres://a:b@127.0.0.1/k", Way::Here),
            ("postgres://a:b@localhost:5433/k", Way::Here),
            ("postgres://a@%2Fvar%2Frun%2Fpostgresql/k", Way::Here),
            ("postgres://a@x/k?host=/var/run/postgresql", Way::Here),
            ("postgres://a:b@db.example.org/k", Way::Unverified),
            (
                "postgres://a:b@db.example.org/k?sslmode=require",
                Way::Unverified,
            ),
            (
                "postgres://a:b@db.example.org/k?sslmode=verify-ca",
                Way::Verified,
            ),
            (
                "postgres://a:b@db.example.org/k?sslmode=verify-full",
                Way::Verified,
            ),
        ] {
            let database = Database::Postgres {
                url: url.to_owned().into(),
                connections: 1,
            };
            assert_eq!(Way::to(&database), way, "{url}");
        }
        let file = Database::File("keyferry.db".into());
        assert_eq!(Way::to(&file), Way::Here);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_and_contents_are_not() {
        let missing = "postgres://a@db.example.org/k?sslmode=verify-full&sslkey=/nowhere.pem";
        let refused = read_files(&missing.to_owned().into()).unwrap_err();
        let says = "DATABASE_URL says sslkey=/nowhere.pem, which cannot be read";
        assert_eq!(refused.to_string(), says);
        let contents = "postgres://a@db.example.org/k?sslkey=-----BEGIN%20PRIVATE%20KEY-----";
        read_files(&contents.to_owned().into()).unwrap();
    }
}
