//! One POST to the webhook.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::AlertsError;
use super::address::is_public;
use crate::config::{AlertSettings, Reach, WebhookUrl};
use crate::outbound::Trust;

/// Where alerts go.
pub(crate) struct Webhook {
    url: WebhookUrl,
    key: hmac::Key,
    reach: Reach,
    trust: Trust,
}

/// Why the webhook has not taken an alert. Its own words stay out of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untaken {
    #[error("the webhook's name leads to no address that is allowed")]
    Address,
    #[error("the webhook does not answer in time")]
    Slow,
    #[error("the webhook cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("the webhook does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the webhook answers {0}")]
    Refused(StatusCode),
}

impl Webhook {
    /// None unless the operator names one.
    pub(crate) fn new(settings: &AlertSettings) -> Result<Option<Self>, AlertsError> {
        let Some(target) = &settings.webhook else {
            return Ok(None);
        };
        let trust = Trust::beside(settings.authority.as_deref());
        Ok(Some(Self {
            url: target.url.clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, target.secret.expose_secret().as_bytes()),
            reach: settings.reach,
            trust: trust.map_err(AlertsError::Authority)?,
        }))
    }

    /// Anything but a success is to be tried again.
    pub(super) async fn post(&self, body: &[u8]) -> Result<(), Untaken> {
        let status = timeout(PATIENCE, self.exchange(body)).await;
        let status = status.map_err(|_| Untaken::Slow)??;
        if status.is_success() {
            return Ok(());
        }
        Err(Untaken::Refused(status))
    }

    async fn exchange(&self, body: &[u8]) -> Result<StatusCode, Untaken> {
        // The address that was looked at is the one that is called.
        let found = lookup_host((self.url.host.as_str(), self.url.port)).await?;
        let allowed = |ip| self.reach == Reach::Anywhere || is_public(ip);
        let address = found.into_iter().find(|address| allowed(address.ip()));
        let stream = TcpStream::connect(address.ok_or(Untaken::Address)?).await?;
        let request = self.request(body);
        if !self.url.encrypted {
            return say(stream, request).await;
        }
        let name = ServerName::try_from(self.url.host.clone());
        let name = name.map_err(|_| Untaken::Address)?;
        let stream = self.trust.connector().connect(name, stream).await?;
        say(stream, request).await
    }

    /// The signature is over time and body, so that neither can be changed or sent again later.
    fn request(&self, body: &[u8]) -> Request<Full<Bytes>> {
        let now = seconds_now().to_string();
        let mut mac = hmac::Context::with_key(&self.key);
        mac.update(now.as_bytes());
        mac.update(b".");
        mac.update(body);
        let tag = mac.sign();
        let tag: String = tag
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Request::post(&self.url.path)
            .header(HOST, &self.url.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(
                USER_AGENT,
                concat!("keyferry-server/", env!("CARGO_PKG_VERSION")),
            )
            .header("x-keyferry-timestamp", now)
            .header("x-keyferry-signature", format!("v1={tag}"))
            .body(Full::new(Bytes::copy_from_slice(body)))
            .expect("the parts of the webhook's URL were looked at when it was set")
    }
}

async fn say<S>(stream: S, request: Request<Full<Bytes>>) -> Result<StatusCode, Untaken>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    connection.abort();
    Ok(answer?.status())
}

#[expect(
    clippy::disallowed_methods,
    reason = "receivers compare it with the time of their own machine"
)]
fn seconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

const PATIENCE: Duration = Duration::from_secs(10);
