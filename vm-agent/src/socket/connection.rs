//! The conversation with one tool: `protocol::local`, from `Hello` to the end of either side.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::local::{
    Delivery, LocalError, MAX_FRAME, RefusalCode, Reply, Request, VERSION, split_frame,
};
use keyferry_protocol::memory::PageState;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Peer;
use crate::agent::{Agent, Guest, refusal};
use crate::proxy::Holder;

/// Why a conversation ended early. It is the tool's own affair, and only logged for debugging.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// No greeting in time, or an answer that is not taken.
    #[error("the tool is too slow")]
    TooSlow,
    /// What it sent is not in the protocol.
    #[error("the tool does not keep to the protocol")]
    Protocol(#[from] LocalError),
    /// Only whoever holds its socket is left.
    #[error("the process that connected has ended")]
    Gone,
    /// The rule that keeps it out.
    #[error("not permitted: {0}")]
    NotPermitted(String),
    /// The socket failed.
    #[error("the socket failed")]
    Socket(#[from] io::Error),
}

/// Serves one tool until it goes.
pub async fn converse(
    agent: &Agent,
    stream: UnixStream,
    peer: Peer,
) -> Result<(), ConnectionError> {
    let mut wire = Wire {
        stream,
        received: Vec::new(),
    };
    greet(agent, &mut wire, &peer).await?;
    let mut tool = Tool {
        agent,
        guest: agent.join(),
        peer,
        told: BTreeMap::new(),
    };
    let mut changes = agent.changes();
    loop {
        tokio::select! {
            request = wire.next() => match request {
                Ok(Some(request)) => tool.answer(&mut wire, request).await?,
                Ok(None) => return Ok(()),
                Err(error) => return refuse_malformed(&mut wire, error).await,
            },
            Ok(()) = changes.changed() => tool.tell_changes(&mut wire).await?,
        }
    }
}

async fn greet(agent: &Agent, wire: &mut Wire, peer: &Peer) -> Result<(), ConnectionError> {
    let hello = match timeout(TO_GREET, wire.next()).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) => return refuse_malformed(wire, error).await,
        Err(_elapsed) => return Err(ConnectionError::TooSlow),
    };
    if let Err(rule) = agent.policy().admits(peer) {
        let refused = refusal(RefusalCode::NotPermitted, &rule);
        wire.send(&Reply::Refused(refused), None).await?;
        return Err(ConnectionError::NotPermitted(rule));
    }
    match hello {
        Some(Request::Hello { version }) if version >= VERSION => {
            let welcome = Reply::Welcome {
                version: VERSION,
                protection: agent.protection(),
            };
            wire.send(&welcome, None).await
        }
        _ => refuse_malformed(wire, LocalError::Malformed.into()).await,
    }
}

/// The last words before the connection is closed.
async fn refuse_malformed(wire: &mut Wire, error: ConnectionError) -> Result<(), ConnectionError> {
    let refused = refusal(RefusalCode::BadRequest, "");
    wire.send(&Reply::Refused(refused), None).await?;
    Err(error)
}

/// One tool, and what it was last told of each of its pages.
struct Tool<'a> {
    agent: &'a Agent,
    guest: Guest<'a>,
    peer: Peer,
    told: BTreeMap<KeyName, (u32, PageState)>,
}

impl Tool<'_> {
    async fn answer(&mut self, wire: &mut Wire, request: Request) -> Result<(), ConnectionError> {
        match request {
            Request::Open {
                name,
                delivery: Delivery::Page,
            } => self.open(wire, name).await,
            Request::Open {
                name,
                delivery: Delivery::Inject,
            } => self.lend(wire, name).await,
            Request::Status => wire.send(&Reply::Status(self.report()), None).await,
            Request::Hello { .. } => {
                let refused = refusal(RefusalCode::BadRequest, "");
                wire.send(&Reply::Refused(refused), None).await
            }
        }
    }

    async fn open(&mut self, wire: &mut Wire, name: KeyName) -> Result<(), ConnectionError> {
        self.agent
            .identify(&mut self.peer, &wire.stream, &name)
            .await;
        match self.agent.open(&self.guest, &self.peer, &name) {
            Ok(opened) => {
                self.told
                    .insert(name.clone(), (opened.version, PageState::Live));
                let page = Reply::Page {
                    name,
                    version: opened.version,
                };
                wire.send(&page, Some(opened.descriptor.as_fd())).await
            }
            Err(refusal) => wire.send(&Reply::Refused(refusal), None).await,
        }
    }

    async fn lend(&mut self, wire: &mut Wire, name: KeyName) -> Result<(), ConnectionError> {
        let Some(process) = self.peer.process(&wire.stream) else {
            return Err(ConnectionError::Gone);
        };
        self.agent
            .identify(&mut self.peer, &wire.stream, &name)
            .await;
        let peer = self.peer.clone();
        let holder = Holder { peer, process };
        let reply = match self.agent.lend(&self.peer, holder, &name) {
            Ok(lent) => Reply::Proxied {
                port: lent.port,
                name,
                provider: lent.provider,
                token: lent.token,
            },
            Err(refusal) => Reply::Refused(refusal),
        };
        wire.send(&reply, None).await
    }

    /// A key may have changed several times since: what counts is what the page holds now.
    async fn tell_changes(&mut self, wire: &mut Wire) -> Result<(), ConnectionError> {
        for share in self.agent.shares(&self.guest) {
            let now = (share.version, share.state);
            if self.told.insert(share.key.clone(), now) != Some(now) {
                let (version, state) = now;
                wire.send(
                    &Reply::Changed {
                        name: share.key,
                        version,
                        state,
                    },
                    None,
                )
                .await?;
            }
        }
        Ok(())
    }

    fn report(&self) -> Vec<u8> {
        self.agent.status_within(LONGEST_STATUS)
    }
}

/// Frames in, frames and descriptors out.
struct Wire {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Wire {
    /// The next request; `None` at the end. May be cancelled.
    async fn next(&mut self) -> Result<Option<Request>, ConnectionError> {
        loop {
            if let Some((payload, taken)) = split_frame(&self.received)? {
                let request = Request::parse(payload)?;
                self.received.drain(..taken);
                return Ok(Some(request));
            }
            // No request is longer than this, whatever its length says.
            if self.received.len() >= LONGEST_REQUEST {
                return Err(LocalError::Malformed.into());
            }
            self.stream.readable().await?;
            let mut bytes = [0; LONGEST_REQUEST];
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(read) => self
                    .received
                    .extend_from_slice(bytes.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn send(
        &mut self,
        reply: &Reply,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), ConnectionError> {
        let frame = reply.encode();
        let sending = async {
            let mut rest = frame.as_slice();
            let mut descriptor = descriptor;
            while !rest.is_empty() {
                let sent = self.send_some(rest, descriptor).await?;
                // It went with the first byte.
                descriptor = None;
                rest = rest.get(sent..).unwrap_or_default();
            }
            Ok(())
        };
        timeout(TO_TAKE, sending)
            .await
            .map_err(|_elapsed| ConnectionError::TooSlow)?
    }

    async fn send_some(&self, bytes: &[u8], with: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        let descriptors = with.as_slice();
        self.stream
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty() {
                    control.push(SendAncillaryMessage::ScmRights(descriptors));
                }
                let message = [IoSlice::new(bytes)];
                let quietly = SendFlags::NOSIGNAL;
                Ok(sendmsg(&self.stream, &message, &mut control, quietly)?)
            })
            .await
    }
}

const TO_GREET: Duration = Duration::from_secs(5);
const TO_TAKE: Duration = Duration::from_secs(5);
const LONGEST_REQUEST: usize = 256;
/// A frame, less its type.
const LONGEST_STATUS: usize = MAX_FRAME - 1;
