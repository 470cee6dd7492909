//! The body of a tool's request, as hyper takes it: piece by piece, and never short.

use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::HeaderMap;
use hyper::body::{Body as HttpBody, Frame};
use hyper::header::{HeaderName, HeaderValue};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use crate::proxy::body::{Body, receive};
use crate::proxy::exchange::linger;
use crate::proxy::head::MOST_HEADERS;

/// Hyper's side.
pub(super) enum ToolBody {
    Empty,
    Pieces(mpsc::Receiver<Piece>),
}

/// Ours.
pub(super) type Pieces = Option<mpsc::Sender<Piece>>;

pub(super) enum Piece {
    Frame(Frame<Bytes>),
    /// Only who hears this has heard everything.
    End,
}

/// The tool is gone, or breaks its own framing.
#[derive(Debug, thiserror::Error)]
#[error("the request breaks off")]
pub(super) struct BreaksOff;

impl ToolBody {
    pub(super) fn of(body: &Body) -> (Pieces, Self) {
        if body.is_over() {
            return (None, Self::Empty);
        }
        // One piece waits, another one is under way: no more is read from the tool.
        let (pieces, taken) = mpsc::channel(1);
        (Some(pieces), Self::Pieces(taken))
    }
}

impl HttpBody for ToolBody {
    type Data = Bytes;
    type Error = BreaksOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BreaksOff>>> {
        let Self::Pieces(pieces) = &mut *self else {
            return Poll::Ready(None);
        };
        Poll::Ready(match ready!(pieces.poll_recv(context)) {
            Some(Piece::Frame(frame)) => Some(Ok(frame)),
            Some(Piece::End) => None,
            None => Some(Err(BreaksOff)),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

/// The rest of the request, then anything else that the tool says. Returns when the tool is gone,
/// or breaks its own framing: nobody waits for the answer then.
pub(super) async fn upload(
    (body, inbox): (&mut Body, &mut BytesMut),
    (from, pieces): (&mut (impl AsyncRead + Unpin), Pieces),
    sent: &mut u64,
) {
    if let Some(pieces) = pieces {
        match pass((body, inbox), (from, &pieces), sent).await {
            Ok(()) => {}
            Err(Stopped::ByTool) => return,
            // The host may have answered before it stopped listening.
            Err(Stopped::ByHost) => pending().await,
        }
    }
    linger(from, inbox).await;
}

enum Stopped {
    ByTool,
    ByHost,
}

/// May be cancelled: the body is over only when all of it is said.
async fn pass(
    (body, inbox): (&mut Body, &mut BytesMut),
    (from, pieces): (&mut (impl AsyncRead + Unpin), &mpsc::Sender<Piece>),
    sent: &mut u64,
) -> Result<(), Stopped> {
    let mut trailer = Vec::new();
    let say = async |piece| pieces.send(piece).await.map_err(|_gone| Stopped::ByHost);
    loop {
        let mut rest = body.clone();
        let found = rest.next(inbox, &mut trailer);
        let (data, taken) = found.map_err(|_malformed| Stopped::ByTool)?;
        let bytes = inbox.split_to(taken).freeze();
        *sent += taken as u64;
        if !data.is_empty() {
            say(Piece::Frame(Frame::data(bytes.slice(data)))).await?;
            *body = rest;
        } else if rest.is_over() {
            // After trailers hyper asks for nothing more.
            let last = match parse(&trailer) {
                Some(trailers) => Piece::Frame(Frame::trailers(trailers)),
                None => Piece::End,
            };
            say(last).await?;
            *body = rest;
            return Ok(());
        } else {
            *body = rest;
            if !matches!(receive(from, inbox).await, Ok(1..)) {
                return Err(Stopped::ByTool);
            }
        }
    }
}

/// What follows the chunks of a body; `None` if nothing does.
fn parse(trailer: &[u8]) -> Option<HeaderMap> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let Ok(httparse::Status::Complete((_, headers))) =
        httparse::parse_headers(trailer, &mut headers)
    else {
        return None;
    };
    let mut trailers = HeaderMap::new();
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        trailers.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    (!trailers.is_empty()).then_some(trailers)
}
