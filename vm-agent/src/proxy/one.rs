//! A host that speaks HTTP/1.1: heads are written anew, everything else passes byte for byte.

use std::future::pending;

use bytes::BytesMut;
use keyferry_protocol::memory::{LockedBox, scrub};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, split};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::body::{Body, Broken, pass, receive, send};
use super::exchange::{Answered, Tool, Traffic, linger};
use super::refusal::Refused;
use super::request::Request;
use super::response::{Kind, Response};

/// A connection to it.
pub(super) struct One {
    stream: TlsStream<TcpStream>,
    inbox: BytesMut,
}

impl One {
    pub(super) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self {
            stream,
            inbox: BytesMut::new(),
        }
    }

    /// From locked memory into TLS, which encrypts it at once.
    pub(super) async fn send(&mut self, head: LockedBox) -> Result<u64, Refused> {
        let sent = send(&mut self.stream, head.expose()).await;
        let length = head.len() as u64;
        drop(head);
        scrub();
        sent.map(|()| length).map_err(|_gone| Refused::Closed)
    }

    /// Both ways at once: an answer may come before the request is whole.
    pub(super) async fn relay(
        &mut self,
        request: &mut Request,
        (tool, traffic): (&mut Tool, &mut Traffic),
    ) -> Result<Answered, Refused> {
        let of_head = request.is_head();
        let answered = {
            let (mut from_tool, mut to_tool) = tool.stream.split();
            let (mut from_host, mut to_host) = split(&mut self.stream);
            let upload = upload(
                (&mut request.body, &mut tool.inbox),
                (&mut from_tool, &mut to_host),
                &mut traffic.sent,
            );
            let download = download(
                (of_head, &mut self.inbox),
                (&mut from_host, &mut to_tool),
                &mut traffic.received,
            );
            tokio::select! {
                biased;
                answered = download => answered?,
                () = upload => Answered::Ended,
            }
        };
        if answered == Answered::Switched && request.upgrade {
            self.switch(tool, traffic).await;
        }
        Ok(answered)
    }

    /// Bytes both ways, until either side ends.
    async fn switch(&mut self, tool: &mut Tool, traffic: &mut Traffic) {
        let (mut from_tool, mut to_tool) = tool.stream.split();
        let (mut from_host, mut to_host) = split(&mut self.stream);
        let (mut up, mut down) = (Body::UntilClose, Body::UntilClose);
        let Traffic { sent, received } = traffic;
        let _which_ended_first = tokio::select! {
            ended = pass(&mut up, &mut tool.inbox, &mut from_tool, &mut to_host, sent) => ended,
            ended = pass(&mut down, &mut self.inbox, &mut from_host, &mut to_tool, received) => ended,
        };
    }

    /// When an idle host says anything, it is goodbye.
    pub(super) async fn gone(&mut self) {
        let _whatever_it_is = self.stream.read(&mut [0]).await;
    }
}

/// The rest of the request, then anything else that the tool says. Returns when the tool is gone,
/// or breaks its own framing: nobody waits for the answer then.
async fn upload(
    (body, inbox): (&mut Body, &mut BytesMut),
    (from, to): (
        &mut (impl AsyncRead + Unpin),
        &mut (impl AsyncWrite + Unpin),
    ),
    sent: &mut u64,
) {
    match pass(body, inbox, from, to, sent).await {
        Ok(()) => linger(from, inbox).await,
        // The host may have answered before it hung up.
        Err(Broken::Sink) => pending().await,
        Err(Broken::Source) => {}
    }
}

/// The answer, as it comes. Nothing of ours may follow its first byte.
async fn download(
    (of_head, inbox): (bool, &mut BytesMut),
    (from, to): (
        &mut (impl AsyncRead + Unpin),
        &mut (impl AsyncWrite + Unpin),
    ),
    received: &mut u64,
) -> Result<Answered, Refused> {
    let mut begun = false;
    loop {
        let mut response = match next_response(of_head, inbox, from).await {
            Ok(response) => response,
            Err(_) if begun => return Ok(Answered::Ended),
            Err(refused) => return Err(refused),
        };
        begun = true;
        let head = inbox.split_to(response.length);
        *received += head.len() as u64;
        if send(to, &head).await.is_err() {
            return Ok(Answered::Ended);
        }
        match response.kind {
            Kind::Interim => {}
            Kind::Switching => return Ok(Answered::Switched),
            Kind::Final => {
                let passed = pass(&mut response.body, inbox, from, to, received).await;
                return Ok(match passed {
                    // What follows an answer that nobody has asked for is no answer to the next.
                    Ok(()) if response.keep_alive && inbox.is_empty() => Answered::Whole,
                    _ => Answered::Ended,
                });
            }
        }
    }
}

async fn next_response(
    of_head: bool,
    inbox: &mut BytesMut,
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Response, Refused> {
    loop {
        if let Some(response) = Response::parse(inbox, of_head)? {
            return Ok(response);
        }
        if !matches!(receive(from, inbox).await, Ok(1..)) {
            return Err(Refused::Closed);
        }
    }
}
