//! How the way to the database is protected.

use std::net::IpAddr;
use std::str::FromStr;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

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

#[cfg(test)]
mod tests {
    use super::Way;
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
}
