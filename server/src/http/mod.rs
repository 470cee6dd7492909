//! The listener: every connection has a seat, a deadline for each step, and a bound on what it holds.

mod addresses;
mod client;
mod cookies;
mod correlation;
mod describe;
mod dispatch;
mod docs;
mod events;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guard;
mod guide;
mod metrics;
mod openapi;
mod origins;
mod providers;
mod raw_head;
mod reply;
mod request;
mod routes;
mod rows;
mod segment;
mod status;
mod table;
mod tls;
mod trust;
mod websocket;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::app::App;
use addresses::{Addresses, Seat};
use guard::Guard;

pub(crate) use metrics::serve as serve_metrics;
pub(crate) use openapi::describe_all as openapi;
pub(crate) use tls::{Identity, Reloaded, names};
pub(crate) use trust::trusting_who_listens;

/// A bound socket, and how its connections are protected.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    /// None with plain HTTP.
    pub(crate) tls: Option<Identity>,
}

/// What an accepted connection carries with it.
#[derive(Clone)]
struct Connection {
    app: App,
    peer: IpAddr,
    /// Whether the client has shown a certificate of the operator's authority.
    certified: bool,
    /// Given back when the connection, or the WebSocket that it has become, ends.
    seat: Arc<Seat>,
    /// Whether a request is being answered: then the client owes nothing.
    answering: Arc<AtomicBool>,
}

/// Serves connections until the server stops, and lets those under way finish.
pub(crate) async fn serve(app: App, listener: Listener) {
    let limits = &app.config.connections;
    let seats = Arc::new(Semaphore::new(limits.total));
    let addresses = Addresses::new(limits.per_address);
    let listener = Arc::new(listener);
    loop {
        let seat = Arc::clone(&seats)
            .acquire_owned()
            .await
            .expect("the seats are never closed");
        let accepted = tokio::select! {
            accepted = listener.socket.accept() => accepted,
            () = app.stop.requested() => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                // Over its share, the connection is closed without a word.
                // Behind a proxy are many clients: each counts with its own requests.
                let proxies = &app.config.web.trusted_proxies;
                let counted = (!client::is_proxy(peer.ip(), proxies)).then_some(peer.ip());
                if let Some(seat) = addresses.seat(counted, seat) {
                    let (app, listener) = (app.clone(), Arc::clone(&listener));
                    tokio::spawn(
                        async move { welcome(app, &listener, (socket, peer), seat).await },
                    );
                }
            }
            Err(cause) => recover(&cause).await,
        }
    }
    let everyone = u32::try_from(limits.total).unwrap_or(u32::MAX);
    if timeout(limits.farewell, seats.acquire_many(everyone))
        .await
        .is_err()
    {
        warn!("connections were still open when the server stopped");
    }
}

/// Out of descriptors or memory: nothing helps but to wait for connections to end.
async fn recover(cause: &io::Error) {
    warn!(%cause, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn welcome(app: App, listener: &Listener, accepted: (TcpStream, SocketAddr), seat: Seat) {
    let (socket, peer) = accepted;
    // Small answers go out at once.
    let _ = socket.set_nodelay(true);
    let handshake = app.config.connections.tls_handshake;
    let mut connection = Connection {
        app,
        peer: peer.ip(),
        certified: false,
        seat: Arc::new(seat),
        answering: Arc::new(AtomicBool::new(false)),
    };
    match &listener.tls {
        None => converse(connection, socket).await,
        Some(tls) => match timeout(handshake, tls.acceptor().accept(socket)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates();
                connection.certified = shown.is_some_and(|chain| !chain.is_empty());
                converse(connection, stream).await;
            }
            Ok(Err(cause)) => debug!(%cause, "a TLS handshake failed"),
            Err(_) => debug!("a TLS handshake came too slowly"),
        },
    }
}

async fn converse<S>(connection: Connection, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stop = connection.app.stop.clone();
    let limits = &connection.app.config.connections;
    let guarded = Guard::new(stream, limits, Arc::clone(&connection.answering));
    let service = service_fn(move |request| dispatch::answer(connection.clone(), request));
    let conversation = http1::Builder::new()
        .max_buf_size(2 * raw_head::MAX_HEAD)
        .max_headers(raw_head::MAX_FIELDS)
        .serve_connection(TokioIo::new(guarded), service)
        .with_upgrades();
    let mut conversation = std::pin::pin!(conversation);
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = stop.requested() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(cause) = ended {
        debug!(%cause, "a connection ended early");
    }
}

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod tests;
