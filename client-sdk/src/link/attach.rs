//! From a credential to an open session.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use keyferry_protocol::agreement::{KeyPair, PublicKey};
use keyferry_protocol::channel::LONGEST_SEALED;
use keyferry_protocol::handshake::agent::{Hello, begin};
use keyferry_protocol::handshake::{Claims, CredentialRef, Suite};
use keyferry_protocol::ids::InstanceId;
use keyferry_protocol::memory::{Arena, LockedBox, MemoryError};
use keyferry_protocol::ticket::Ticket;
use rand_core::CryptoRng;
use tokio::time::timeout;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};

use super::{
    Endpoint, Link, LinkError, Received, ServerUrl, Socket, Transport, of_close, of_websocket,
};
use crate::ClientCertificate;
use crate::tls::{ServerTrust, SpkiPin};

/// One server, and how to tell it is the right one.
#[derive(Clone)]
pub struct Target {
    /// Where it is.
    pub server: Endpoint,
    /// Its static key `S`.
    pub server_key: PublicKey,
    /// The suite to use with it.
    pub suite: Suite,
}

/// The ticket names a server in a way that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the ticket names a server that cannot be used")]
pub struct TargetError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Target {
    /// The servers of a ticket, which are shown this certificate if they ask for one.
    pub fn of_ticket(
        ticket: &Ticket,
        shown: Option<&ClientCertificate>,
    ) -> Result<Vec<Self>, TargetError> {
        let trust = match ticket.spki_pin {
            Some(pin) => ServerTrust::Pinned(SpkiPin(pin)),
            None => ServerTrust::System,
        };
        let target = |url: &String| {
            let url = url
                .parse::<ServerUrl>()
                .map_err(|cause| TargetError(cause.into()))?;
            let server = Endpoint::new(url, &trust, shown);
            let server = server.map_err(|cause| TargetError(cause.into()))?;
            Ok(Self {
                server,
                server_key: ticket.server_key,
                suite: ticket.min_suite,
            })
        };
        ticket.urls.iter().map(target).collect()
    }
}

/// Who is attaching.
pub struct Identity {
    /// This run of the agent.
    pub instance: InstanceId,
    /// The agent's static key `A`.
    pub key: KeyPair,
    /// What it says of itself.
    pub claims: Claims,
}

impl Identity {
    /// A new key pair in locked memory, and a new name for this run.
    pub fn fresh(
        arena: &Arena,
        claims: Claims,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, MemoryError> {
        let mut instance = [0; 16];
        rng.fill_bytes(&mut instance);
        Ok(Self {
            instance: InstanceId(instance),
            key: KeyPair::generate(arena, rng)?,
            claims,
        })
    }
}

/// What it offers: a ticket, or what the last session handed over.
pub struct Credential {
    /// Kind and id.
    pub reference: CredentialRef,
    /// The secret, 32 bytes.
    pub secret: LockedBox,
}

/// Connects, shakes hands, and waits for the server's welcome: the open session, and the `Accept`
/// message as it came.
pub async fn attach(
    arena: &Arena,
    target: &Target,
    identity: &Identity,
    credential: &Credential,
) -> Result<(Link, LockedBox), LinkError> {
    let transport = in_time(TO_CONNECT, target.server.connect()).await?;
    let mut socket = in_time(TO_ANSWER, upgrade(target, transport)).await?;
    in_time(TO_ANSWER, async {
        let channel = {
            let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
            let hello = Hello {
                server_key: target.server_key,
                suite: target.suite,
                instance: identity.instance,
                credential: credential.reference,
                agent_key: &identity.key,
            };
            let (awaiting, first) = begin(arena, &mut rng, hello)?;
            say(&mut socket, first).await?;
            let second = hear(&mut socket).await?;
            let (channel, third) =
                awaiting.finish(&second, &credential.secret, &identity.claims)?;
            say(&mut socket, third).await?;
            channel
        };
        let mut link = Link::new(socket, channel);
        match link.next().await? {
            Received::Message(accept) => Ok((link, accept)),
            Received::Pong => Err(LinkError::Protocol("a pong instead of a welcome")),
        }
    })
    .await
}

async fn upgrade(target: &Target, transport: Box<dyn Transport>) -> Result<Socket, LinkError> {
    let uri: Uri = target
        .server
        .url
        .agents()
        .parse()
        .expect("a server's URL was parsed before");
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * LONGEST_SEALED)
        .max_message_size(Some(LONGEST_SEALED))
        .max_frame_size(Some(LONGEST_SEALED));
    let (socket, _response) = client_async_with_config(request, transport, Some(config))
        .await
        .map_err(refused_upgrade)?;
    Ok(socket)
}

/// The one answer before a session that says what to do about it.
fn refused_upgrade(error: tungstenite::Error) -> LinkError {
    let tungstenite::Error::Http(answer) = &error else {
        return of_websocket(error);
    };
    let said = answer.body().as_deref().map(String::from_utf8_lossy);
    if said.is_some_and(|said| said.contains("client_certificate_missing")) {
        return LinkError::CertificateMissing;
    }
    of_websocket(error)
}

async fn say(socket: &mut Socket, message: Vec<u8>) -> Result<(), LinkError> {
    socket
        .send(Message::Binary(message.into()))
        .await
        .map_err(of_websocket)
}

async fn hear(socket: &mut Socket) -> Result<Bytes, LinkError> {
    match socket.next().await {
        Some(Ok(Message::Binary(message))) => Ok(message),
        Some(Ok(Message::Close(frame))) => Err(of_close(frame.as_ref())),
        None => Err(LinkError::Closed),
        Some(Ok(_)) => Err(LinkError::Protocol(
            "a handshake message that is not binary",
        )),
        Some(Err(tungstenite::Error::Io(error))) => Err(LinkError::Unreachable(error)),
        Some(Err(error)) => Err(of_websocket(error)),
    }
}

async fn in_time<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    timeout(limit, step)
        .await
        .map_err(|_| LinkError::TimedOut)?
}

/// What the WebSocket carries.
const SUBPROTOCOL: &str = "keyferry.v1";
const TO_CONNECT: Duration = Duration::from_secs(10);
const TO_ANSWER: Duration = Duration::from_secs(5);
const BUFFER: usize = 16 * 1024;
