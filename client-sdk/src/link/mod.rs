//! A session with a server: TLS, a WebSocket in it, the handshake in that, and then messages.
//!
//! The agent keeps one open for its whole life. Everything that is secret is sealed before it comes
//! near a socket, and opened in locked memory.

mod attach;
mod backoff;
mod credentials;
mod endpoint;
mod url;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use keyferry_protocol::channel::{Channel, ChannelError, Receiver, Sender};
use keyferry_protocol::handshake::HandshakeError;
use keyferry_protocol::memory::{Arena, LockedBox, MemoryError};
use keyferry_protocol::wire::ToServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};

pub use attach::{Credential, Identity, Target, TargetError, attach};
pub use backoff::Backoff;
pub use credentials::Credentials;
pub(crate) use endpoint::Ask;
pub use endpoint::{Answer, Dial, Dialled, Endpoint};
pub use url::{ServerUrl, UrlError};

use crate::tls::TlsError;

/// An open session.
pub struct Link {
    socket: Socket,
    sender: Sender,
    receiver: Receiver,
}

/// What a server sent.
pub enum Received {
    /// A message, opened. `wire::ToAgent::decode` reads it.
    Message(LockedBox),
    /// A sign of life without content.
    Pong,
}

/// Why there is no session, or no more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No connection, or one that broke.
    #[error("the server cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// The server is silent.
    #[error("the server does not answer in time")]
    TimedOut,
    /// No TLS configuration can be made.
    #[error("TLS to the server cannot be set up")]
    Tls(#[from] TlsError),
    /// What answers there is no Keyferry server, or one that takes no agents now.
    #[error("the server does not take the connection")]
    WebSocket(#[source] Box<tungstenite::Error>),
    /// The operator lets nobody in who shows no certificate.
    #[error(
        "the server wants a client certificate; have its operator issue one, and name its files \
         (client_certificate and client_key)"
    )]
    CertificateMissing,
    /// A plain request failed.
    #[error("the server's answer breaks off")]
    Http(#[source] hyper::Error),
    /// The handshake failed on our side.
    #[error("the handshake failed")]
    Handshake(#[from] HandshakeError),
    /// The server ended the handshake without a reason, as it does for a bad credential.
    #[error("the server does not accept the ticket or credential")]
    Refused,
    /// The server cannot decide whether it takes us, for its database does not answer.
    #[error("the server is not able to answer now")]
    Unavailable,
    /// The server closed the session.
    #[error("the server closed the session")]
    Closed,
    /// A message that does not open: the session is worth nothing any more.
    #[error("a message of the session cannot be trusted")]
    Channel(#[from] ChannelError),
    /// The server said something that is not in the protocol.
    #[error("the server does not keep to the protocol: {0}")]
    Protocol(&'static str),
    /// No locked memory left.
    #[error("no locked memory is left")]
    Memory(#[from] MemoryError),
}

impl Link {
    fn new(socket: Socket, channel: Channel) -> Self {
        let (sender, receiver) = channel.split();
        Self {
            socket,
            sender,
            receiver,
        }
    }

    /// Waits for the next message. May be cancelled: nothing that has arrived is lost.
    pub async fn next(&mut self) -> Result<Received, LinkError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(sealed))) => {
                    return Ok(Received::Message(self.receiver.open(&sealed)?));
                }
                Some(Ok(Message::Pong(_))) => return Ok(Received::Pong),
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(Message::Close(frame))) => return Err(of_close(frame.as_ref())),
                None => return Err(LinkError::Closed),
                Some(Ok(_)) => return Err(LinkError::Protocol("a message that is not binary")),
                Some(Err(error)) => return Err(of_websocket(error)),
            }
        }
    }

    /// Seals and sends a message.
    pub async fn send(&mut self, message: &ToServer) -> Result<(), LinkError> {
        let plain = message.encode(self.receiver.arena())?;
        let sealed = self.sender.seal(plain)?;
        self.put(Message::Binary(sealed.into())).await
    }

    /// Asks for a sign of life.
    pub async fn ping(&mut self) -> Result<(), LinkError> {
        self.put(Message::Ping(Bytes::new())).await
    }

    /// A server that takes nothing must not hold up whoever has more to do.
    async fn put(&mut self, message: Message) -> Result<(), LinkError> {
        let sending = timeout(TO_TAKE, self.socket.send(message));
        sending
            .await
            .map_err(|_elapsed| LinkError::TimedOut)?
            .map_err(of_websocket)
    }

    /// Closes in good order, if the server is there to hear it.
    pub async fn close(mut self) {
        let _as_well_as_can_be = timeout(TO_CLOSE, self.socket.close(None)).await;
    }

    /// Where messages are opened into.
    pub fn arena(&self) -> &Arena {
        self.receiver.arena()
    }

    /// How many messages this side has sealed: there is an end to them.
    pub fn sent(&self) -> u64 {
        self.sender.count()
    }
}

type Socket = WebSocketStream<Box<dyn Transport>>;

/// TCP, with or without TLS, or something else that carries bytes both ways.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A server refuses a credential by 1008 alone (PROTOCOL.md §8): a balancer that is restarted closes
/// connections too.
fn of_close(frame: Option<&CloseFrame>) -> LinkError {
    match frame.map(|frame| frame.code) {
        Some(CloseCode::Policy) => LinkError::Refused,
        Some(CloseCode::Again) => LinkError::Unavailable,
        _ => LinkError::Closed,
    }
}

fn of_websocket(error: tungstenite::Error) -> LinkError {
    match error {
        tungstenite::Error::Io(error) => LinkError::Unreachable(error),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            LinkError::Closed
        }
        other => LinkError::WebSocket(Box::new(other)),
    }
}

const TO_TAKE: Duration = Duration::from_secs(10);
const TO_CLOSE: Duration = Duration::from_secs(1);
