//! Frames and descriptors over the agent's Unix socket.
//!
//! A descriptor arrives with the first byte of the frame that it belongs to, so the n-th page
//! answer owns the n-th descriptor.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use keyferry_protocol::local::{Reply, Request, split_frame};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::Error;

/// One connection to the agent.
pub(crate) struct AgentSocket {
    stream: UnixStream,
    received: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

/// An answer or an event, and the descriptor that came with it.
pub(crate) struct Arrival {
    pub(crate) reply: Reply,
    pub(crate) descriptor: Option<OwnedFd>,
}

impl AgentSocket {
    pub(crate) async fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| Error::of_connecting(path.to_owned(), source))?;
        Ok(Self {
            stream,
            received: Vec::new(),
            descriptors: VecDeque::new(),
        })
    }

    /// Sends a whole request. Not to be cancelled: half a frame would spoil the next one.
    pub(crate) async fn send(&self, request: &Request) -> Result<(), Error> {
        let frame = request.encode();
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            self.stream.writable().await.map_err(Error::Socket)?;
            match self.stream.try_write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Error::AgentGone),
            }
        }
        Ok(())
    }

    /// The next arrival. May be cancelled: nothing that was received is lost.
    pub(crate) async fn next(&mut self) -> Result<Arrival, Error> {
        loop {
            if let Some(arrival) = self.whole_frame()? {
                return Ok(arrival);
            }
            self.stream.readable().await.map_err(Error::Socket)?;
            match self.receive() {
                Ok(0) => return Err(Error::AgentGone),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Error::AgentGone),
            }
        }
    }

    fn whole_frame(&mut self) -> Result<Option<Arrival>, Error> {
        let split = split_frame(&self.received).map_err(|error| Error::Protocol(Some(error)))?;
        let Some((payload, taken)) = split else {
            return Ok(None);
        };
        let reply = Reply::parse(payload).map_err(|error| Error::Protocol(Some(error)))?;
        self.received.drain(..taken);
        let descriptor = match reply {
            Reply::Page { .. } => Some(self.descriptors.pop_front().ok_or(Error::Protocol(None))?),
            _ => None,
        };
        Ok(Some(Arrival { reply, descriptor }))
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = self.stream.try_io(Interest::READABLE, || {
            let mut into = [IoSliceMut::new(&mut bytes)];
            let message = recvmsg(
                &self.stream,
                &mut into,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            Ok(message.bytes)
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.received
            .extend_from_slice(bytes.get(..received).unwrap_or_default());
        Ok(received)
    }
}
