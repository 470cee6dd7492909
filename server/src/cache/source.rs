//! Where Redis is: one server, whichever one the Sentinels name, or a cluster.

use std::path::PathBuf;

use futures_util::future::select_ok;
use redis::aio::PubSub;
use redis::cluster::ClusterClient;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, RedisError, RedisResult,
    TlsCertificates, cmd,
};
use secrecy::{ExposeSecret, SecretString};
use tracing::debug;

use super::TO_ANSWER;
use super::addresses::Addresses;
use super::line::Line;

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
    /// By some of its nodes, which know the others.
    Cluster(Addresses),
}

struct Sentinels {
    addresses: Addresses,
    service: String,
    /// The URL from the primary's address on.
    after: String,
}

impl Source {
    /// Reads a URL, or says what it must be.
    pub(crate) fn parse(url: &str, ca_file: Option<PathBuf>) -> Result<Self, &'static str> {
        let place = match url.split_once("://") {
            Some((scheme @ ("redis-sentinel" | "rediss-sentinel"), rest)) => {
                let scheme = scheme.trim_end_matches("-sentinel");
                Place::Sentinels(Sentinels::parse(scheme, rest).ok_or(SENTINEL_FORM)?)
            }
            Some((scheme @ ("redis-cluster" | "rediss-cluster"), rest)) => {
                let scheme = scheme.trim_end_matches("-cluster");
                let nodes = rest.strip_suffix('/').unwrap_or(rest);
                let nodes = (!nodes.contains('/')).then_some(nodes);
                let nodes = nodes.and_then(|nodes| Addresses::parse(scheme, nodes));
                Place::Cluster(nodes.ok_or(CLUSTER_FORM)?)
            }
            _ => {
                url.into_connection_info().map_err(|_| FORM)?;
                Place::Server(SecretString::from(url))
            }
        };
        Ok(Self { place, ca_file })
    }

    /// One connection that listens, and the line to whoever takes writes now.
    pub(super) async fn open(&self) -> RedisResult<(PubSub, Line)> {
        let url = match &self.place {
            Place::Cluster(nodes) => return self.open_cluster(nodes).await,
            Place::Server(url) => url.expose_secret().to_owned(),
            Place::Sentinels(sentinels) => {
                let primary = self.primary(sentinels).await?;
                sentinels.addresses.url(&primary, &sentinels.after)
            }
        };
        let client = self.client(&url).await?;
        let listener = client.get_async_pubsub().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(TO_ANSWER));
        let line = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        Ok((listener, Line::Server(line)))
    }

    /// What is published at one node of a cluster is heard at every other.
    async fn open_cluster(&self, nodes: &Addresses) -> RedisResult<(PubSub, Line)> {
        let urls = nodes.iter().map(|address| nodes.url(address, ""));
        let mut client = ClusterClient::builder(urls)
            .retries(RETRIES)
            .connection_timeout(TO_ANSWER)
            .response_timeout(TO_ANSWER);
        if let Some(certificates) = self.certificates(&nodes.url("", "")).await? {
            client = client.certs(certificates);
        }
        let line = client.build()?.get_async_connection().await?;
        Ok((self.listen(nodes).await?, Line::Cluster(line)))
    }

    /// At whichever node answers first.
    async fn listen(&self, nodes: &Addresses) -> RedisResult<PubSub> {
        let asked = nodes.iter().map(|address| {
            let url = nodes.url(address, "");
            Box::pin(async move { self.client(&url).await?.get_async_pubsub().await })
        });
        let (listener, _slower) = select_ok(asked).await?;
        Ok(listener)
    }

    /// Asks one Sentinel after the other.
    async fn primary(&self, sentinels: &Sentinels) -> RedisResult<String> {
        for address in sentinels.addresses.iter() {
            let url = sentinels.addresses.url(address, "");
            match self.ask(&url, &sentinels.service).await {
                Ok(Some((host, port))) => return Ok(format!("{host}:{port}")),
                Ok(None) => debug!(%address, "the Sentinel does not know the service"),
                Err(cause) => debug!(%address, %cause, "the Sentinel does not answer"),
            }
        }
        let nobody = "no Sentinel knows where the primary is";
        Err(RedisError::from((ErrorKind::Io, nobody)))
    }

    async fn ask(&self, url: &str, service: &str) -> RedisResult<Option<(String, u16)>> {
        let client = self.client(url).await?;
        let mut line = client.get_multiplexed_async_connection().await?;
        cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(service)
            .query_async(&mut line)
            .await
    }

    async fn client(&self, url: &str) -> RedisResult<Client> {
        match self.certificates(url).await? {
            Some(certificates) => Client::build_with_tls(url, certificates),
            None => Client::open(url),
        }
    }

    /// The authority's certificate is read each time, since it may have been renewed.
    async fn certificates(&self, url: &str) -> RedisResult<Option<TlsCertificates>> {
        match &self.ca_file {
            Some(path) if url.starts_with("rediss:") => Ok(Some(TlsCertificates {
                client_tls: None,
                root_cert: Some(tokio::fs::read(path).await?),
            })),
            _ => Ok(None),
        }
    }
}

impl Sentinels {
    /// `[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]/SERVICE[/DATABASE]`
    fn parse(scheme: &str, rest: &str) -> Option<Self> {
        // A password may hold a slash.
        let user = rest.rfind('@').map_or(0, |at| at + 1);
        let (user, rest) = rest.split_at(user);
        let (addresses, service) = rest.split_once('/')?;
        let (service, database) = service.split_once('/').unwrap_or((service, "0"));
        let after = format!("/{database}");
        let addresses = Addresses::parse(scheme, &[user, addresses].concat())?;
        let reachable = |address| addresses.url(address, &after).into_connection_info();
        let valid = !service.is_empty() && addresses.iter().all(|one| reachable(one).is_ok());
        valid.then(|| Self {
            service: service.to_owned(),
            addresses,
            after,
        })
    }
}

/// For a key that has moved to another node; more would only use up the time.
const RETRIES: u32 = 2;
const FORM: &str = "must be redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, \
    redis+unix:///PATH, redis-sentinel://HOST:PORT,.../SERVICE, or redis-cluster://HOST:PORT,...";
const SENTINEL_FORM: &str =
    "must be redis-sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]/SERVICE[/DATABASE]";
const CLUSTER_FORM: &str =
    "must be redis-cluster://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...], without a database";

#[cfg(test)]
mod tests {
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
        let addresses = &sentinels.addresses;
        assert_eq!(addresses.iter().collect::<Vec<_>>(), ["a:1", "b:2"]);
        assert_eq!(sentinels.service, "main");
        assert_eq!(addresses.url("c:4", &sentinels.after), "rediss://u:p@c:4/3");
        for wrong in [
            "redis-sentinel://a:1",
            "redis-sentinel://a:1,/x",
            "redis-sentinel://a:1/",
            "redis-sentinel://a:1/main/x",
        ] {
            assert!(Source::parse(wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cluster_is_named_by_some_of_its_nodes() {
        for (url, first) in [
            ("redis-cluster://a:1,b:2", "redis://a:1"),
            ("rediss-cluster://u:p@a:1,b:2/", "rediss://u:p@a:1"),
        ] {
            let Place::Cluster(nodes) = Source::parse(url, None).unwrap().place else {
                panic!("{url} is a cluster");
            };
            assert_eq!(nodes.iter().collect::<Vec<_>>(), ["a:1", "b:2"]);
            assert_eq!(nodes.url("a:1", ""), first);
        }
        for wrong in [
            "redis-cluster://",
            "redis-cluster://a:1,",
            "redis-cluster://a:1/0",
            "redis-cluster://a:x",
        ] {
            let refused = Source::parse(wrong, None).err();
            assert!(
                refused.is_some_and(|form| form.contains("redis-cluster://[")),
                "{wrong}"
            );
        }
    }
}
