//! One connection of a tool: a request out, its answer back, and again.

use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::body::{receive, send};
use super::destination::{Aim, Destination};
use super::health;
use super::http2::Two;
use super::one::One;
use super::outward::Tongue;
use super::refusal::Refused;
use super::request::{LONGEST, Request};
use super::{Loan, Outward};
use crate::agent::Agent;

/// A connection, and the one to the host that it was last passed on to.
pub(super) struct Line<'a> {
    agent: &'a Agent,
    outward: &'a Outward,
    tool: Tool,
    host: Option<Host>,
    traffic: Traffic,
    patience: Duration,
}

/// The tool's side of it.
pub(super) struct Tool {
    pub(super) stream: TcpStream,
    /// What has arrived, and is not passed on yet.
    pub(super) inbox: BytesMut,
}

struct Host {
    destination: Destination,
    speaks: Speaks,
    used: bool,
    /// By the agent's count when it was connected to.
    jumps: u64,
}

enum Speaks {
    One(Box<One>),
    Two(Two),
}

/// Bytes of requests and answers, as HTTP/1.1 has them.
#[derive(Default)]
pub(super) struct Traffic {
    pub(super) sent: u64,
    pub(super) received: u64,
}

#[derive(PartialEq, Eq)]
enum Next {
    Another,
    End,
}

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
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
            tool: Tool {
                stream: tool,
                inbox: BytesMut::new(),
            },
            host: None,
            traffic: Traffic::default(),
            patience: TO_BEGIN,
        }
    }

    /// Serves this user's tool until one side has had enough.
    pub(super) async fn serve(mut self, user: Option<u32>) -> io::Result<()> {
        self.tool.stream.set_nodelay(true)?;
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
        let answer = self.answer_to(refused);
        send(&mut self.tool.stream, &answer).await?;
        self.hang_up().await
    }

    fn answer_to(&self, refused: Refused) -> Vec<u8> {
        if refused == Refused::NoToken && health::is_asked(&self.tool.inbox) {
            return health::answer(self.agent.status().health);
        }
        tracing::debug!(code = refused.code(), "a request to the proxy is refused");
        refused.answer()
    }

    async fn serve_user(&mut self, uid: u32) -> Result<(), Refused> {
        while let Some(request) = self.next_request().await? {
            let loan = self.agent.redeem(&request.token, uid)?;
            let outcome = self.exchange(request, &loan).await;
            let Traffic { sent, received } = std::mem::take(&mut self.traffic);
            self.agent.count(&loan, (sent, received));
            if outcome
                .as_ref()
                .is_err_and(|refused| refused.keeps_to_the_hosts())
            {
                self.agent.note_refused(&loan);
            }
            if outcome? == Next::End {
                break;
            }
        }
        Ok(())
    }

    /// The next head. A host that hangs up meanwhile is let go.
    async fn next_request(&mut self) -> Result<Option<Request>, Refused> {
        let mut deadline = Instant::now() + self.patience;
        let mut endings = self.agent.endings();
        let Tool { stream, inbox } = &mut self.tool;
        loop {
            if let Some((request, length)) = Request::parse(inbox)? {
                inbox.advance(length);
                self.patience = IDLE;
                return Ok(Some(request));
            }
            let first = inbox.is_empty();
            tokio::select! {
                read = timeout_at(deadline, receive(stream, inbox)) => {
                    if !matches!(read, Ok(Ok(1..))) {
                        return Ok(None);
                    }
                    if first && self.patience == IDLE {
                        deadline = Instant::now() + TO_SEND_HEAD;
                    }
                }
                () = gone(&mut self.host) => self.host = None,
                _ = endings.changed() => self.host = None,
            }
        }
    }

    async fn exchange(&mut self, mut request: Request, loan: &Loan) -> Result<Next, Refused> {
        let route = self.agent.route(loan)?;
        if route.provider == "google" {
            request.move_key_parameter();
        }
        let aim = Aim::of(request.host.clone(), &route)?;
        let destination = &aim.destination;
        let tongue = match request.for_http2(&destination.authority()) {
            Some(_) => Tongue::Any,
            None => Tongue::One,
        };
        self.reach(destination, tongue).await?;
        self.agent.charge(loan)?;
        loop {
            let repeat = self.host.as_ref().is_some_and(|host| host.used);
            match self
                .pass_on_while_permitted(&mut request, (loan, &aim))
                .await
            {
                Err(Refused::Closed) if repeat && request.may_be_repeated() => {
                    self.host = None;
                    self.reach(destination, tongue).await?;
                }
                other => return other,
            }
        }
    }

    async fn reach(&mut self, destination: &Destination, tongue: Tongue) -> Result<(), Refused> {
        let jumps = self.agent.jumps();
        let serves = |host: &Host| host.jumps == jumps && host.serves(destination, tongue);
        if self.host.as_ref().is_some_and(serves) {
            return Ok(());
        }
        self.host = None;
        let stream = self.outward.connect(destination, tongue).await?;
        let speaks = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Speaks::Two(Two::open(stream).await?)
        } else {
            Speaks::One(Box::new(One::new(stream)))
        };
        self.host = Some(Host {
            destination: destination.clone(),
            speaks,
            used: false,
            jumps,
        });
        Ok(())
    }

    /// From the locked page through locked memory into TLS.
    async fn send_head(
        &mut self,
        request: &Request,
        (loan, aim): (&Loan, &Aim),
    ) -> Result<(), Refused> {
        let host = self.host.as_mut().ok_or(Refused::Closed)?;
        let (authority, arena) = (host.destination.authority(), &self.outward.arena);
        host.used = true;
        self.traffic.sent += match &mut host.speaks {
            Speaks::One(one) => {
                let written = |key: &[u8]| request.write(&authority, key, arena);
                one.send(self.agent.inject(loan, aim, written)??).await?
            }
            Speaks::Two(two) => {
                let written = |key: &[u8]| {
                    let fields = request.fields_with_key(key, arena)?;
                    Ok((fields, request.length(&authority, key)))
                };
                let (fields, length) = self.agent.inject(loan, aim, written)??;
                two.prepare(fields);
                length
            }
        };
        Ok(())
    }

    /// A key that goes takes what is under way with it, unless the settings say otherwise.
    async fn pass_on_while_permitted(
        &mut self,
        request: &mut Request,
        (loan, aim): (&Loan, &Aim),
    ) -> Result<Next, Refused> {
        let (agent, received) = (self.agent, self.traffic.received);
        let jumps = self.host.as_ref().map_or(0, |host| host.jumps);
        let finishes = self.outward.finish_streams;
        let may_go_on = || match (agent.jumps() == jumps, finishes) {
            (false, _) => Err(Refused::Closed),
            (true, true) => Ok(()),
            (true, false) => agent.goes_on(loan, aim),
        };
        let passing_on = async {
            self.send_head(request, (loan, aim)).await?;
            self.relay(request).await
        };
        let refused = tokio::select! {
            biased;
            outcome = passing_on => return outcome,
            refused = ended(agent, may_go_on) => refused,
        };
        tracing::info!(key = %loan.key, code = refused.code(), "a request under way was ended");
        if self.traffic.received == received {
            Err(refused)
        } else {
            Ok(Next::End)
        }
    }

    async fn relay(&mut self, request: &mut Request) -> Result<Next, Refused> {
        let host = self.host.as_mut().ok_or(Refused::Closed)?;
        let sides = (&mut self.tool, &mut self.traffic);
        let answered = match &mut host.speaks {
            Speaks::One(one) => one.relay(request, sides).await?,
            Speaks::Two(two) => {
                let authority = host.destination.authority();
                two.relay((request, &authority), sides).await?
            }
        };
        match answered {
            Answered::Whole if request.keep_alive && request.body.is_over() => Ok(Next::Another),
            _ => Ok(Next::End),
        }
    }

    /// What is still on its way in is read and dropped: a reset would take the answer with it.
    async fn hang_up(mut self) -> io::Result<()> {
        let Tool { stream, inbox } = &mut self.tool;
        stream.shutdown().await?;
        let draining = async {
            let mut dropped = 0;
            while dropped < MOST_DRAINED {
                inbox.clear();
                match receive(stream, inbox).await? {
                    0 => break,
                    read => dropped += read,
                }
            }
            Ok(())
        };
        timeout(TO_DRAIN, draining).await.unwrap_or(Ok(()))
    }
}

impl Host {
    fn serves(&self, destination: &Destination, tongue: Tongue) -> bool {
        let understands = tongue == Tongue::Any || matches!(self.speaks, Speaks::One(_));
        self.destination == *destination && understands
    }
}

/// Whatever else the tool says is for later. Returns when it is gone.
pub(super) async fn linger(from: &mut (impl AsyncRead + Unpin), inbox: &mut BytesMut) {
    while inbox.len() <= LONGEST {
        if !matches!(receive(from, inbox).await, Ok(1..)) {
            return;
        }
    }
    pending::<()>().await;
}

/// Waits until a request may not go on any more.
async fn ended(agent: &Agent, may_go_on: impl Fn() -> Result<(), Refused>) -> Refused {
    let mut changes = agent.changes();
    loop {
        if let Err(refused) = may_go_on() {
            return refused;
        }
        if changes.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}

async fn gone(host: &mut Option<Host>) {
    match host.as_mut().map(|host| &mut host.speaks) {
        Some(Speaks::One(one)) => one.gone().await,
        Some(Speaks::Two(two)) => two.gone().await,
        None => pending().await,
    }
}

/// For the first head, whole.
const TO_BEGIN: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(300);
const TO_SEND_HEAD: Duration = Duration::from_secs(15);
const TO_DRAIN: Duration = Duration::from_secs(1);
const MOST_DRAINED: usize = 4 << 20;
