//! `keyferry-server health`: what a container asks itself.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Failure, Serve};
use crate::config::{Config, Transport};
use crate::http::trusting_who_listens;

#[derive(Args)]
pub(super) struct Health {
    #[command(flatten)]
    pub(super) serve: Serve,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Asks the server that has these settings. Anything but that it can serve is a failure.
pub(super) async fn health(config: Config, flags: &Health) -> Result<(), Failure> {
    let asked = timeout(PATIENCE, ask(&config)).await;
    let asked = asked.unwrap_or_else(|_| Err("the server does not answer in time".into()));
    let mut stdout = std::io::stdout().lock();
    if let (Err(_), true) = (&asked, flags.json) {
        writeln!(stdout, "{}", json!({ "status": "unreachable" }))?;
    }
    let (status, answer) = asked?;
    if flags.json {
        writeln!(stdout, "{answer}")?;
    } else {
        let part = |name: &str| {
            let said = answer.get(name).and_then(Value::as_str);
            said.unwrap_or("unknown").to_owned()
        };
        writeln!(
            stdout,
            "{} (database {}, cache {})",
            part("status"),
            part("database"),
            part("cache")
        )?;
    }
    if status == StatusCode::OK {
        Ok(())
    } else {
        Err(format!("the server cannot serve: {status}").into())
    }
}

async fn ask(config: &Config) -> Result<(StatusCode, Value), Failure> {
    let address = reach(config.listen);
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|cause| format!("nothing listens at {address}: {cause}"))?;
    if config.transport == Transport::Plain {
        return exchange(stream).await;
    }
    let connector = TlsConnector::from(Arc::new(trusting_who_listens()?));
    let name = ServerName::IpAddress(address.ip().into());
    exchange(connector.connect(name, stream).await?).await
}

async fn exchange<S>(stream: S) -> Result<(StatusCode, Value), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/health").header(HOST, "localhost");
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?);
    let answer = answer.await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MOST).collect().await?;
    connection.abort();
    Ok((status, serde_json::from_slice(&body.to_bytes())?))
}

/// Who listens on every address is reached on this host.
const fn reach(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        named => named,
    };
    SocketAddr::new(ip, listen.port())
}

/// Less than a container gives its health check.
const PATIENCE: Duration = Duration::from_secs(4);
const MOST: usize = 64 * 1024;
