//! Where Redis is: one server, or whichever one the Sentinels name.

use std::path::PathBuf;

use redis::{Client, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, TlsCertificates, cmd};
use secrecy::{ExposeSecret, SecretString};
use tracing::debug;

/// What the settings say of Redis.
pub(crate) struct Source {
    place: Place,
    /// A certificate authority of one's own, as PEM.
    ca_file: Option<PathBuf>,
}

enum Place {
    /// By its URL.
    Server(SecretString),
    /// By Sentinels, which know where the primary of a service is.
    Sentinels(Sentinels),
}

struct Sentinels {
    /// The URL up to the address, with a user and password.
    before: SecretString,
    addresses: Vec<String>,
    service: String,
    /// The URL from the primary's address on.
    after: String,
}

impl Source {
    /// Reads a URL, or says what it must be.
    pub(crate) fn parse(url: &str, ca_file: Option<PathBuf>) -> Result<Self, &'static str> {
        let place = match url.split_once("-sentinel://") {
            Some((scheme @ ("redis" | "rediss"), rest)) => {
                Place::Sentinels(Sentinels::parse(scheme, rest).ok_or(SENTINEL_FORM)?)
            }
            _ => {
                url.into_connection_info().map_err(|_| FORM)?;
                Place::Server(SecretString::from(url))
            }
        };
        Ok(Self { place, ca_file })
    }

    /// A client for the server that takes writes now.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        match &self.place {
            Place::Server(url) => self.open(url.expose_secret()).await,
            Place::Sentinels(sentinels) => {
                let primary = self.primary(sentinels).await?;
                self.open(&sentinels.url(&primary, &sentinels.after)).await
            }
        }
    }

    /// Asks one Sentinel after the other.
    async fn primary(&self, sentinels: &Sentinels) -> RedisResult<String> {
        for address in &sentinels.addresses {
            match self
                .ask(&sentinels.url(address, ""), &sentinels.service)
                .await
            {
                Ok(Some((host, port))) => return Ok(format!("{host}:{port}")),
                Ok(None) => debug!(%address, "the Sentinel does not know the service"),
                Err(cause) => debug!(%address, %cause, "the Sentinel does not answer"),
            }
        }
        let nobody = "no Sentinel knows where the primary is";
        Err(RedisError::from((ErrorKind::Io, nobody)))
    }

    async fn ask(&self, url: &str, service: &str) -> RedisResult<Option<(String, u16)>> {
        let client = self.open(url).await?;
        let mut line = client.get_multiplexed_async_connection().await?;
        cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(service)
            .query_async(&mut line)
            .await
    }

    /// The authority's certificate is read each time, since it may have been renewed.
    async fn open(&self, url: &str) -> RedisResult<Client> {
        match &self.ca_file {
            Some(path) if url.starts_with("rediss:") => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(tokio::fs::read(path).await?),
                };
                Client::build_with_tls(url, certificates)
            }
            _ => Client::open(url),
        }
    }
}

impl Sentinels {
    /// `[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]/SERVICE[/DATABASE]`
    fn parse(scheme: &str, rest: &str) -> Option<Self> {
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (format!("{user}@"), rest),
            None => (String::new(), rest),
        };
        let (addresses, service) = rest.split_once('/')?;
        let (service, database) = service.split_once('/').unwrap_or((service, "0"));
        let sentinels = Self {
            before: SecretString::from(format!("{scheme}://{user}")),
            addresses: addresses.split(',').map(str::to_owned).collect(),
            service: service.to_owned(),
            after: format!("/{database}"),
        };
        let valid = !service.is_empty()
            && sentinels.addresses.iter().all(|address| {
                let url = sentinels.url(address, &sentinels.after);
                !address.is_empty() && url.into_connection_info().is_ok()
            });
        valid.then_some(sentinels)
    }

    fn url(&self, address: &str, after: &str) -> String {
        format!("{}{address}{after}", self.before.expose_secret())
    }
}

const FORM: &str = "must be redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, \
    redis+unix:///PATH, or redis-sentinel://HOST:PORT,.../SERVICE";
const SENTINEL_FORM: &str =
    "must be redis-sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]/SERVICE[/DATABASE]";

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::{Place, Source};

    #[test]
    fn a_server_is_named_by_its_url() {
        for good in [
            "redis://localhost",
            "rediss://u:p@cache.example.org:6380/2",
            "redis+unix:///run/redis.sock",
        ] {
            assert!(Source::parse(good, None).is_ok(), "{good}");
        }
        for wrong in ["", "localhost:6379", "http://localhost", "redis://h/x"] {
            let refused = Source::parse(wrong, None).err();
            assert!(refused.is_some_and(|form| form.starts_with("must be redis://")));
        }
    }

    #[test]
    fn sentinels_are_listed_with_the_name_of_their_service() {
        let source = Source::parse("rediss-sentinel://u:p@a:1,b:2/main/3", None).unwrap();
        let Place::Sentinels(sentinels) = source.place else {
            panic!("these are Sentinels");
        };
        assert_eq!(sentinels.addresses, ["a:1", "b:2"]);
        assert_eq!(sentinels.service, "main");
        assert_eq!(sentinels.before.expose_secret(), "rediss://u:p@");
        assert_eq!(sentinels.url("c:4", &sentinels.after), "rediss://u:p@c:4/3");
        for wrong in [
            "redis-sentinel://a:1",
            "redis-sentinel://a:1,/x",
            "redis-sentinel://a:1/",
        ] {
            assert!(Source::parse(wrong, None).is_err(), "{wrong}");
        }
    }
}
