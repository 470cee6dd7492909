//! Between hyper and TLS: the fields with the key are put behind the other fields of their request.
//!
//! ```text
//!  HEADERS, length 120, END_HEADERS | 120 bytes      from hyper
//!  HEADERS, length 180, END_HEADERS | 120 bytes | 60 bytes of locked memory
//! ```
//!
//! Fields that are never indexed change no table, so a block may be continued by anybody
//! (RFC 7541 §6.2.3).

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use keyferry_protocol::memory::{LockedBox, scrub};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The fields that the next request takes with it.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<LockedBox>>>);

impl Slot {
    pub(super) fn put(&self, fields: LockedBox) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fields);
    }

    fn take(&self) -> Option<LockedBox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A stream of frames that looks at their heads.
pub(super) struct Wire<S> {
    stream: S,
    slot: Slot,
    place: Place,
    head: Head,
    /// The newest stream that was opened.
    opened: u32,
    /// Fields whose place has not come yet.
    fields: Option<LockedBox>,
    /// Goes out before anything else.
    first: VecDeque<Part>,
    /// Goes out behind the frame that is under way.
    behind: VecDeque<Part>,
}

type Head = [u8; 9];

/// Where in the stream hyper is.
enum Place {
    Preface { left: usize },
    Head { filled: usize },
    Payload { left: usize },
}

enum Part {
    Head(Head, usize),
    Fields(LockedBox, usize),
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, slot: Slot) -> Self {
        Self {
            stream,
            slot,
            place: Place::Preface { left: PREFACE },
            head: [0; 9],
            opened: 0,
            fields: None,
            first: VecDeque::new(),
            behind: VecDeque::new(),
        }
    }

    /// Keeps what there is of a head until all of it is.
    fn take_head(&mut self, filled: usize, bytes: &[u8]) -> usize {
        let rest = self.head.get_mut(filled..).unwrap_or_default();
        let taken = rest.len().min(bytes.len());
        for (place, byte) in rest.iter_mut().zip(bytes) {
            *place = *byte;
        }
        let filled = filled + taken;
        self.place = Place::Head { filled };
        if filled == self.head.len() {
            self.begin_frame();
        }
        taken
    }

    /// A head is complete: it goes out, longer if the fields follow.
    fn begin_frame(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream);
        if kind == HEADERS && stream > self.opened {
            self.opened = stream;
            self.fields = self.slot.take();
        }
        let ends_block = (kind == HEADERS || kind == CONTINUATION) && flags & END_HEADERS != 0;
        let mut head = self.head;
        let fields = ends_block.then(|| self.fields.take()).flatten();
        if let Some(fields) = fields {
            if length + fields.len() <= LONGEST_FIELDS {
                put_length(&mut head, length + fields.len());
            } else {
                let mut continued = head;
                put_length(&mut continued, fields.len());
                [continued[3], continued[4]] = [CONTINUATION, END_HEADERS];
                head[4] &= !END_HEADERS;
                self.behind.push_back(Part::Head(continued, 0));
            }
            self.behind.push_back(Part::Fields(fields, 0));
        }
        self.first.push_back(Part::Head(head, 0));
        self.place = Place::Payload { left: length };
        self.end_frame_if_whole();
    }

    fn end_frame_if_whole(&mut self) {
        if matches!(self.place, Place::Payload { left: 0 }) {
            self.place = Place::Head { filled: 0 };
            self.first.append(&mut self.behind);
        }
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Until nothing of ours waits.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(part) = self.first.front_mut() {
            let (bytes, sent) = match part {
                Part::Head(head, sent) => (head.as_slice(), sent),
                Part::Fields(fields, sent) => (fields.expose(), sent),
            };
            let rest = bytes.get(*sent..).unwrap_or_default();
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if written == 0 && !rest.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *sent += written;
            if *sent >= bytes.len() {
                self.first.pop_front();
                scrub();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on at most `left` bytes.
    fn poll_pass(
        &mut self,
        context: &mut Context<'_>,
        (bytes, left): (&[u8], usize),
    ) -> Poll<io::Result<usize>> {
        let passing = bytes.get(..left.min(bytes.len())).unwrap_or_default();
        Pin::new(&mut self.stream).poll_write(context, passing)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = &mut *self;
        ready!(wire.poll_first(context))?;
        match wire.place {
            Place::Preface { left } => {
                let passed = ready!(wire.poll_pass(context, (bytes, left)))?;
                let left = left - passed;
                wire.place = if left == 0 {
                    Place::Head { filled: 0 }
                } else {
                    Place::Preface { left }
                };
                Poll::Ready(Ok(passed))
            }
            Place::Head { filled } => Poll::Ready(Ok(wire.take_head(filled, bytes))),
            Place::Payload { left } => {
                let passed = ready!(wire.poll_pass(context, (bytes, left)))?;
                wire.place = Place::Payload {
                    left: left - passed,
                };
                wire.end_frame_if_whole();
                Poll::Ready(Ok(passed))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_first(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_first(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

fn put_length(head: &mut Head, length: usize) {
    let length = u32::try_from(length).expect("a frame has at most 16 KiB");
    let [_, a, b, c] = length.to_be_bytes();
    [head[0], head[1], head[2]] = [a, b, c];
}

const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// What every peer takes in one frame (RFC 9113 §4.2).
pub(super) const LONGEST_FIELDS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use keyferry_protocol::memory::{Arena, ProtectionLevel};
    use tokio::io::AsyncWriteExt;

    use super::*;

    const PRI: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame((kind, flags, stream): (u8, u8, u8), payload: &[u8]) -> Vec<u8> {
        let mut head = [0, 0, 0, kind, flags, 0, 0, 0, stream];
        put_length(&mut head, payload.len());
        [&head, payload].concat()
    }

    /// What goes out when this comes in in pieces of that size.
    async fn passed(frames: &[Vec<u8>], fields: &[u8], piece: usize) -> Vec<u8> {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let slot = Slot::default();
        slot.put(arena.hold(fields).unwrap());
        let mut out = Vec::new();
        let mut wire = Wire::new(&mut out, slot);
        for bytes in [PRI.to_vec(), frames.concat()].concat().chunks(piece) {
            wire.write_all(bytes).await.unwrap();
        }
        wire.flush().await.unwrap();
        out
    }

    #[tokio::test]
    async fn fields_follow_those_of_the_first_request_and_nothing_else_changes() {
        let settings = frame((4, 0, 0), b"123456");
        let data = frame((0, 1, 1), b"body");
        let trailers = frame((HEADERS, END_HEADERS | 1, 1), b"trailer");
        let later = frame((HEADERS, END_HEADERS, 3), b"later");
        let request = frame((HEADERS, END_HEADERS, 1), b"plain");
        let frames = [settings, request, data, trailers, later];
        let mut expected = frames.clone();
        expected[1] = frame((HEADERS, END_HEADERS, 1), b"plainSECRET");
        for piece in [1, 2, 7, 9, 10, 1000] {
            let out = passed(&frames, b"SECRET", piece).await;
            assert_eq!(out, [PRI, &expected.concat()].concat(), "pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn what_is_too_long_for_one_frame_is_continued() {
        let most = vec![b'x'; LONGEST_FIELDS - 3];
        let request = frame((HEADERS, END_HEADERS | 1, 1), &most);
        let expected = [
            frame((HEADERS, 1, 1), &most),
            frame((CONTINUATION, END_HEADERS, 1), b"SECRET"),
        ];
        let out = passed(&[request], b"SECRET", 4096).await;
        assert_eq!(out, [PRI, &expected.concat()].concat());
    }

    #[tokio::test]
    async fn fields_follow_the_last_part_of_a_continued_block() {
        let frames = [
            frame((HEADERS, 0, 1), b"first"),
            frame((CONTINUATION, END_HEADERS, 1), b""),
        ];
        let expected = [
            frame((HEADERS, 0, 1), b"first"),
            frame((CONTINUATION, END_HEADERS, 1), b"SECRET"),
        ];
        let out = passed(&frames, b"SECRET", 3).await;
        assert_eq!(out, [PRI, &expected.concat()].concat());
    }
}
