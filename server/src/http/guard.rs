//! Stands between the socket and hyper: passes on one checked head and its body at a time, and
//! keeps the clock that hyper does not.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use zeroize::Zeroize;

use super::raw_head::{self, Framing, Refusal, Scan};
use crate::config::ConnectionLimits;

/// A stream on which every request is well formed and in time.
pub(super) struct Guard<S> {
    stream: S,
    phase: Phase,
    /// Received and not yet passed on; what was passed on is wiped.
    waiting: Vec<u8>,
    /// How much of the start of `waiting` may be passed on.
    checked: usize,
    /// How far `waiting` was searched for the end of a head.
    scanned: usize,
    pace: Pace,
    /// While a request is being answered the client may be silent.
    answering: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Between requests, or inside a head.
    Head,
    /// So much body to come.
    Body(u64),
    /// A chunked body or an upgraded connection: nothing more to check here.
    Rest,
    /// A head was refused: nothing more is read.
    Refused,
}

/// The deadlines of one connection.
struct Pace {
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
    lingering: Option<Pin<Box<Sleep>>>,
    first_byte: Duration,
    head: Duration,
    body: Duration,
}

impl<S> Guard<S> {
    pub(super) fn new(stream: S, limits: &ConnectionLimits, answering: Arc<AtomicBool>) -> Self {
        Self {
            stream,
            phase: Phase::Head,
            waiting: Vec::new(),
            checked: 0,
            scanned: 0,
            pace: Pace {
                reading: Box::pin(sleep(limits.first_byte)),
                writing: None,
                lingering: None,
                first_byte: limits.first_byte,
                head: limits.head,
                // The body's reader answers 408 at its own, earlier deadline.
                body: limits.body + Duration::from_secs(5),
            },
            answering,
        }
    }

    /// Decides how much of what was received may be passed on.
    fn check(&mut self) {
        match self.phase {
            Phase::Head => self.check_head(),
            Phase::Body(left) => {
                let here = left.min(self.waiting.len() as u64);
                self.checked = usize::try_from(here).unwrap_or(self.waiting.len());
                self.expect_body(left - here);
            }
            Phase::Rest => self.checked = self.waiting.len(),
            Phase::Refused => {}
        }
    }

    fn check_head(&mut self) {
        let complete = match raw_head::scan(&self.waiting, self.scanned) {
            Ok(Scan::Partial(scanned)) => {
                self.scanned = scanned;
                return;
            }
            Ok(Scan::Complete(end)) => end,
            Err(refusal) => return self.refuse(refusal),
        };
        let head = self.waiting.get(..complete).unwrap_or_default();
        match raw_head::inspect(head) {
            Ok(framing) => {
                (self.checked, self.scanned) = (complete, 0);
                match framing {
                    Framing::Length(length) => self.expect_body(length),
                    Framing::Rest => self.phase = Phase::Rest,
                }
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn expect_body(&mut self, left: u64) {
        let (phase, span) = match left {
            0 => (Phase::Head, self.pace.first_byte),
            left => (Phase::Body(left), self.pace.body),
        };
        // A body that trickles keeps the deadline that it began with.
        if !matches!((self.phase, phase), (Phase::Body(_), Phase::Body(_))) {
            self.pace.read_within(span);
        }
        self.phase = phase;
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.waiting.zeroize();
        self.waiting.extend_from_slice(refusal.stand_in());
        self.checked = self.waiting.len();
        self.phase = Phase::Refused;
    }

    fn pass_on(&mut self, into: &mut ReadBuf<'_>) {
        let count = self.checked.min(into.remaining());
        let passed = self.waiting.get_mut(..count).unwrap_or_default();
        into.put_slice(passed);
        passed.zeroize();
        self.checked -= count;
        self.waiting.drain(..count);
        if self.waiting.is_empty() {
            // The vector's spare room may still hold bytes that were moved down.
            self.waiting.zeroize();
        }
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// Receives more; zero is the end.
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [0; 4096];
        let mut buffer = ReadBuf::new(&mut piece);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let received = buffer.filled().len();
        if matches!(self.phase, Phase::Head) && self.waiting.is_empty() && received > 0 {
            self.pace.read_within(self.pace.head);
        }
        self.waiting.extend_from_slice(buffer.filled());
        piece.zeroize();
        match polled {
            Poll::Ready(result) => Poll::Ready(result.map(|()| received)),
            Poll::Pending => self.wait(cx),
        }
    }

    /// Discards what still comes, for a moment: closing a socket with unread bytes resets it, and
    /// the answer could be lost on its way (RFC 9112 §9.6).
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let deadline = self
            .pace
            .lingering
            .get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut piece = [0; 4096];
        while deadline.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut piece);
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
            if ready!(polled).is_err() || buffer.filled().is_empty() {
                break;
            }
            piece.zeroize();
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing has come: is it too late?
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if matches!(self.phase, Phase::Rest) {
            return Poll::Pending;
        }
        while self.pace.reading.as_mut().poll(cx).is_ready() {
            let owes_nothing = matches!(self.phase, Phase::Head) && self.waiting.is_empty();
            if !(owes_nothing && self.answering.load(Ordering::Relaxed)) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.pace.read_within(self.pace.first_byte);
        }
        Poll::Pending
    }
}

impl Pace {
    fn read_within(&mut self, span: Duration) {
        self.reading.as_mut().reset(Instant::now() + span);
    }

    /// A peer that takes nothing any more is cut off.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.writing = None;
            return polled;
        }
        let span = self.body;
        let deadline = self.writing.get_or_insert_with(|| Box::pin(sleep(span)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.checked == 0 && !self.waiting.is_empty() {
                self.check();
            }
            if self.checked > 0 {
                self.pass_on(into);
                return Poll::Ready(Ok(()));
            }
            // Not the end, which would keep hyper from answering.
            if matches!(self.phase, Phase::Refused) {
                return Poll::Pending;
            }
            if ready!(self.receive(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pace.written(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.pace.written(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pace.lingering.is_none() {
            let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.pace.written(cx, polled))?;
        }
        self.linger(cx)
    }
}

const LINGER: Duration = Duration::from_secs(1);
