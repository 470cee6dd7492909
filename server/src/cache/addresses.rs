//! Several addresses in one URL, with one user and password for all of them.

use redis::IntoConnectionInfo;
use secrecy::{ExposeSecret, SecretString};

/// `[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]`
pub(super) struct Addresses {
    /// The URL up to the address, with a user and password.
    before: SecretString,
    list: Vec<String>,
}

impl Addresses {
    /// Reads what follows the scheme. `None` if a URL of one of them would not be one.
    pub(super) fn parse(scheme: &str, rest: &str) -> Option<Self> {
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (format!("{user}@"), rest),
            None => (String::new(), rest),
        };
        let addresses = Self {
            before: SecretString::from(format!("{scheme}://{user}")),
            list: rest.split(',').map(str::to_owned).collect(),
        };
        let valid = addresses.iter().all(|address| {
            let url = addresses.url(address, "");
            !address.is_empty() && url.into_connection_info().is_ok()
        });
        valid.then_some(addresses)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(String::as_str)
    }

    /// The URL of an address, with what comes after it.
    pub(super) fn url(&self, address: &str, after: &str) -> String {
        format!("{}{address}{after}", self.before.expose_secret())
    }
}
