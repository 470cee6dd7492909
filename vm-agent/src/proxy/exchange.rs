//! One connection of a tool: a request out, its answer back, and again.

use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use keyferry_protocol::memory::scrub;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use super::body::{Body, Broken, pass, receive, send};
use super::destination::Destination;
use super::refusal::Refused;
use super::request::{LONGEST, Request};
use super::response::{Kind, Response};
use super::{Loan, Outward};
use crate::agent::Agent;

/// A connection, and the one to the host that it was last passed on to.
pub(super) struct Line<'a> {
    agent: &'a Agent,
    outward: &'a Outward,
    tool: TcpStream,
    inbox: BytesMut,
    host: Option<Host>,
    traffic: Traffic,
    patience: Duration,
}

struct Host {
    destination: Destination,
    stream: TlsStream<TcpStream>,
    inbox: BytesMut,
    used: bool,
}

#[derive(Default)]
struct Traffic {
    sent: u64,
    received: u64,
}

#[derive(PartialEq, Eq)]
enum Next {
    Another,
    End,
}

/// What became of an answer.
#[derive(PartialEq, Eq)]
enum Answered {
    /// It is complete, and both connections can be used again.
    Whole,
    /// From here on it is another protocol.
    Switched,
    /// Nothing more can come on these connections.
    Ended,
}

impl<'a> Line<'a> {
    pub(super) fn new(agent: &'a Agent, outward: &'a Outward, tool: TcpStream) -> Self {
        Self {
            agent,
            outward,
            tool,
            inbox: BytesMut::new(),
            host: None,
            traffic: Traffic::default(),
            patience: TO_BEGIN,
        }
    }

    /// Serves this user's tool until one side has had enough.
    pub(super) async fn serve(mut self, user: Option<u32>) -> io::Result<()> {
        self.tool.set_nodelay(true)?;
        let refused = match user {
            Some(uid) => self.serve_user(uid).await.err(),
            None => Some(Refused::UnknownCaller),
        };
        self.host = None;
        match refused {
            Some(refused) => self.refuse(refused).await,
            None => self.hang_up().await,
        }
    }

    /// Says why, and hangs up.
    pub(super) async fn refuse(mut self, refused: Refused) -> io::Result<()> {
        tracing::debug!(code = refused.code(), "a request to the proxy is refused");
        send(&mut self.tool, &refused.answer()).await?;
        self.hang_up().await
    }

    async fn serve_user(&mut self, uid: u32) -> Result<(), Refused> {
        while let Some(request) = self.next_request().await? {
            let loan = self.agent.redeem(&request.token, uid)?;
            let outcome = self.exchange(request, &loan).await;
            let Traffic { sent, received } = std::mem::take(&mut self.traffic);
            self.agent.count(&loan, (sent, received));
            if outcome? == Next::End {
                break;
            }
        }
        Ok(())
    }

    /// The next head. A host that hangs up meanwhile is let go.
    async fn next_request(&mut self) -> Result<Option<Request>, Refused> {
        let mut deadline = Instant::now() + self.patience;
        loop {
            if let Some((request, length)) = Request::parse(&self.inbox)? {
                self.inbox.advance(length);
                self.patience = IDLE;
                return Ok(Some(request));
            }
            let first = self.inbox.is_empty();
            tokio::select! {
                read = timeout_at(deadline, receive(&mut self.tool, &mut self.inbox)) => {
                    if !matches!(read, Ok(Ok(1..))) {
                        return Ok(None);
                    }
                    if first && self.patience == IDLE {
                        deadline = Instant::now() + TO_SEND_HEAD;
                    }
                }
                () = gone(&mut self.host) => self.host = None,
            }
        }
    }

    async fn exchange(&mut self, mut request: Request, loan: &Loan) -> Result<Next, Refused> {
        let route = self.agent.route(loan)?;
        if route.provider == "google" {
            request.move_key_parameter();
        }
        let wanted = request.host.as_deref();
        let destination = Destination::choose(wanted, &route.provider, &route.hosts)?;
        self.reach(&destination).await?;
        self.agent.charge(loan)?;
        loop {
            let repeat = self.host.as_ref().is_some_and(|host| host.used);
            let outcome = match self.send_head(&request, loan).await {
                Ok(()) => self.relay_while_permitted(&mut request, loan).await,
                Err(refused) => Err(refused),
            };
            match outcome {
                Err(Refused::Closed) if repeat && request.may_be_repeated() => {
                    self.host = None;
                    self.reach(&destination).await?;
                }
                other => return other,
            }
        }
    }

    async fn reach(&mut self, destination: &Destination) -> Result<(), Refused> {
        let there = |host: &Host| host.destination == *destination;
        if self.host.as_ref().is_some_and(there) {
            return Ok(());
        }
        self.host = None;
        self.host = Some(Host {
            stream: self.outward.connect(destination).await?,
            destination: destination.clone(),
            inbox: BytesMut::new(),
            used: false,
        });
        Ok(())
    }

    /// From the locked page through locked memory into TLS, which encrypts it at once.
    async fn send_head(&mut self, request: &Request, loan: &Loan) -> Result<(), Refused> {
        let host = self.host.as_mut().ok_or(Refused::Closed)?;
        let (authority, arena) = (host.destination.authority(), &self.outward.arena);
        let head = self
            .agent
            .inject(loan, |key| request.write(&authority, key, arena))??;
        host.used = true;
        let sent = send(&mut host.stream, head.expose()).await;
        let length = head.len() as u64;
        drop(head);
        scrub();
        self.traffic.sent += length;
        sent.map_err(|_gone| Refused::Closed)
    }

    /// A key that goes takes what is under way with it, unless the settings say otherwise.
    async fn relay_while_permitted(
        &mut self,
        request: &mut Request,
        loan: &Loan,
    ) -> Result<Next, Refused> {
        let (agent, received) = (self.agent, self.traffic.received);
        if self.outward.finish_streams {
            return self.relay(request).await;
        }
        let refused = tokio::select! {
            biased;
            outcome = self.relay(request) => return outcome,
            refused = key_gone(agent, loan) => refused,
        };
        tracing::info!(key = %loan.key, code = refused.code(), "a request under way was ended");
        if self.traffic.received == received {
            Err(refused)
        } else {
            Ok(Next::End)
        }
    }

    /// Both ways at once: an answer may come before the request is whole.
    async fn relay(&mut self, request: &mut Request) -> Result<Next, Refused> {
        let host = self.host.as_mut().ok_or(Refused::Closed)?;
        let of_head = request.is_head();
        let answered = {
            let (mut from_tool, mut to_tool) = self.tool.split();
            let (mut from_host, mut to_host) = split(&mut host.stream);
            let upload = upload(
                (&mut request.body, &mut self.inbox),
                (&mut from_tool, &mut to_host),
                &mut self.traffic.sent,
            );
            let download = download(
                (of_head, &mut host.inbox),
                (&mut from_host, &mut to_tool),
                &mut self.traffic.received,
            );
            tokio::select! {
                biased;
                answered = download => answered?,
                () = upload => Answered::Ended,
            }
        };
        match answered {
            Answered::Whole if request.keep_alive && request.body.is_over() => Ok(Next::Another),
            Answered::Switched if request.upgrade => {
                self.switch().await;
                Ok(Next::End)
            }
            _ => Ok(Next::End),
        }
    }

    /// Bytes both ways, until either side ends.
    async fn switch(&mut self) {
        let Some(host) = self.host.as_mut() else {
            return;
        };
        let (mut from_tool, mut to_tool) = self.tool.split();
        let (mut from_host, mut to_host) = split(&mut host.stream);
        let (mut up, mut down) = (Body::UntilClose, Body::UntilClose);
        let Traffic { sent, received } = &mut self.traffic;
        let _which_ended_first = tokio::select! {
            ended = pass(&mut up, &mut self.inbox, &mut from_tool, &mut to_host, sent) => ended,
            ended = pass(&mut down, &mut host.inbox, &mut from_host, &mut to_tool, received) => ended,
        };
    }

    /// What is still on its way in is read and dropped: a reset would take the answer with it.
    async fn hang_up(mut self) -> io::Result<()> {
        self.tool.shutdown().await?;
        let draining = async {
            let mut dropped = 0;
            while dropped < MOST_DRAINED {
                self.inbox.clear();
                match receive(&mut self.tool, &mut self.inbox).await? {
                    0 => break,
                    read => dropped += read,
                }
            }
            Ok(())
        };
        timeout(TO_DRAIN, draining).await.unwrap_or(Ok(()))
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
        Ok(()) => {
            while inbox.len() <= LONGEST {
                if !matches!(receive(from, inbox).await, Ok(1..)) {
                    return;
                }
            }
            pending::<()>().await;
        }
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

/// Waits until the key of a request may not be used any more.
async fn key_gone(agent: &Agent, loan: &Loan) -> Refused {
    let mut changes = agent.changes();
    loop {
        if let Err(refused) = agent.goes_on(loan) {
            return refused;
        }
        if changes.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}

/// When an idle host says anything, it is goodbye.
async fn gone(host: &mut Option<Host>) {
    match host {
        Some(host) => {
            let _whatever_it_is = host.stream.read(&mut [0]).await;
        }
        None => pending().await,
    }
}

/// For the first head, whole.
const TO_BEGIN: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(300);
const TO_SEND_HEAD: Duration = Duration::from_secs(15);
const TO_DRAIN: Duration = Duration::from_secs(1);
const MOST_DRAINED: usize = 4 << 20;
