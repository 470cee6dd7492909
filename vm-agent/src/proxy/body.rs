//! Where the body of a message ends (RFC 9112 §6, §7). Its bytes are passed on as they are.

use std::io;
use std::ops::Range;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What is left of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks, up to the empty one and its trailer.
    Chunked(Chunk),
    /// Everything until the connection ends.
    UntilClose,
}

/// Where in a chunked body we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    Start,
    Size(u64),
    Extension(u64),
    SizeLineEnd(u64),
    Data(u64),
    DataEnd,
    DataLineEnd,
    TrailerStart,
    Trailer,
    TrailerLineEnd,
    LastLineEnd,
    Over,
}

/// The bytes are no chunks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunks")]
pub(super) struct Malformed;

/// Which side ended a transfer early.
#[derive(Debug)]
pub(super) enum Broken {
    /// Who sends, or what it sends.
    Source,
    /// Who receives.
    Sink,
}

impl Body {
    pub(super) const NONE: Self = Self::Length(0);
    pub(super) const CHUNKED: Self = Self::Chunked(Chunk::Start);

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Over))
    }

    /// How many of these bytes belong to the body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::UntilClose => Ok(bytes.len()),
            Self::Length(left) => Ok(take_counted(left, bytes.len())),
            Self::Chunked(chunk) => {
                let mut taken = 0;
                while let Some(byte) = bytes.get(taken) {
                    match chunk {
                        Chunk::Over => break,
                        Chunk::Data(left) => {
                            taken += take_counted(left, bytes.len() - taken);
                            if *left == 0 {
                                *chunk = Chunk::DataEnd;
                            }
                        }
                        _ => {
                            *chunk = chunk.step(*byte)?;
                            taken += 1;
                        }
                    }
                }
                Ok(taken)
            }
        }
    }

    /// The data at the start of these bytes, and how many bytes that takes, framing included. What
    /// a chunked body says after its data goes to `trailer`.
    pub(super) fn next(
        &mut self,
        bytes: &[u8],
        trailer: &mut Vec<u8>,
    ) -> Result<(Range<usize>, usize), Malformed> {
        let Self::Chunked(chunk) = self else {
            let taken = self.take(bytes)?;
            return Ok((0..taken, taken));
        };
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            match chunk {
                Chunk::Over => break,
                Chunk::Data(left) => {
                    let data = taken..taken + take_counted(left, bytes.len() - taken);
                    if *left == 0 {
                        *chunk = Chunk::DataEnd;
                    }
                    return Ok((data.clone(), data.end));
                }
                _ => {
                    if chunk.is_of_trailer() {
                        trailer.push(*byte);
                    }
                    if trailer.len() > LONGEST_TRAILER {
                        return Err(Malformed);
                    }
                    *chunk = chunk.step(*byte)?;
                    taken += 1;
                }
            }
        }
        Ok((taken..taken, taken))
    }
}

fn take_counted(left: &mut u64, offered: usize) -> usize {
    let taken = usize::try_from(*left).map_or(offered, |left| left.min(offered));
    *left -= taken as u64;
    taken
}

impl Chunk {
    fn is_of_trailer(self) -> bool {
        matches!(
            self,
            Self::TrailerStart | Self::Trailer | Self::TrailerLineEnd | Self::LastLineEnd
        )
    }

    /// The state after one byte that is not data.
    fn step(self, byte: u8) -> Result<Self, Malformed> {
        Ok(match (self, byte) {
            (Self::Start, digit) => Self::Size(hex(digit)?),
            (Self::Size(size), b'\r') => Self::SizeLineEnd(size),
            (Self::Size(size), b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Size(size), digit) if size < LARGEST => Self::Size(size * 16 + hex(digit)?),
            (Self::Extension(size), b'\r') => Self::SizeLineEnd(size),
            (Self::Extension(size), other) if other != b'\n' => Self::Extension(size),
            (Self::SizeLineEnd(0), b'\n') => Self::TrailerStart,
            (Self::SizeLineEnd(size), b'\n') => Self::Data(size),
            (Self::DataEnd, b'\r') => Self::DataLineEnd,
            (Self::DataLineEnd, b'\n') => Self::Start,
            (Self::TrailerStart, b'\r') => Self::LastLineEnd,
            (Self::Trailer, b'\r') => Self::TrailerLineEnd,
            (Self::TrailerStart | Self::Trailer, other) if other != b'\n' => Self::Trailer,
            (Self::TrailerLineEnd, b'\n') => Self::TrailerStart,
            (Self::LastLineEnd, b'\n') => Self::Over,
            _ => return Err(Malformed),
        })
    }
}

fn hex(byte: u8) -> Result<u64, Malformed> {
    char::from(byte)
        .to_digit(16)
        .map(u64::from)
        .ok_or(Malformed)
}

/// Passes a body on. Nothing waits: what has arrived is sent before more is awaited. May be
/// cancelled: the body is over only when all of it is sent.
pub(super) async fn pass(
    body: &mut Body,
    inbox: &mut BytesMut,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    passed: &mut u64,
) -> Result<(), Broken> {
    loop {
        let mut rest = body.clone();
        let taken = rest.take(inbox).map_err(|_malformed| Broken::Source)?;
        if taken > 0 {
            let piece = inbox.get(..taken).unwrap_or_default();
            send(to, piece).await.map_err(|_gone| Broken::Sink)?;
            *body = rest;
            inbox.advance(taken);
            *passed += taken as u64;
        }
        if body.is_over() {
            return Ok(());
        }
        let read = receive(from, inbox).await.map_err(|_gone| Broken::Source)?;
        if read == 0 {
            let complete = *body == Body::UntilClose;
            return if complete {
                Ok(())
            } else {
                Err(Broken::Source)
            };
        }
    }
}

pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

pub(super) async fn receive(
    from: &mut (impl AsyncRead + Unpin),
    inbox: &mut BytesMut,
) -> io::Result<usize> {
    inbox.reserve(PIECE);
    from.read_buf(inbox).await
}

const PIECE: usize = 16 * 1024;
pub(super) const LONGEST_TRAILER: usize = 16 * 1024;
/// A chunk of a larger size is not believed.
const LARGEST: u64 = 1 << 56;

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKS: &[u8] = b"5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n";

    #[test]
    fn chunks_end_where_they_end_however_they_arrive() {
        let bytes = [CHUNKS, b"GET /next"].concat();
        for piece in 1..bytes.len() {
            let mut body = Body::CHUNKED;
            let mut taken = 0;
            while !body.is_over() {
                let end = (taken + piece).min(bytes.len());
                taken += body.take(&bytes[taken..end]).unwrap();
            }
            assert_eq!(taken, CHUNKS.len(), "pieces of {piece}");
        }
    }

    #[test]
    fn data_comes_out_of_chunks_however_they_arrive() {
        for piece in 1..CHUNKS.len() {
            let (mut body, mut data, mut trailer) = (Body::CHUNKED, Vec::new(), Vec::new());
            let (mut start, mut end) = (0, piece);
            while !body.is_over() {
                let bytes = &CHUNKS[start..end.min(CHUNKS.len())];
                let (found, taken) = body.next(bytes, &mut trailer).unwrap();
                data.extend_from_slice(&bytes[found]);
                start += taken;
                end = end.max(start + piece);
            }
            assert_eq!(data, b"hello0123456789", "pieces of {piece}");
            assert_eq!(
                (start, trailer.as_slice()),
                (CHUNKS.len(), &b"X: y\r\n\r\n"[..])
            );
        }
    }

    #[test]
    fn a_length_ends_where_it_ends() {
        let mut body = Body::Length(5);
        assert_eq!(body.take(b"abc"), Ok(3));
        assert!(!body.is_over());
        assert_eq!(body.take(b"defg"), Ok(2));
        assert!(body.is_over());
    }

    #[tokio::test]
    async fn a_body_whose_last_piece_is_half_sent_is_not_over() {
        for (mut body, bytes) in [(Body::Length(7), &b"ninety!"[..]), (Body::CHUNKED, CHUNKS)] {
            let (mut inbox, mut sent) = (BytesMut::from(bytes), 0);
            // Nobody reads at its other end, so that it is full after four bytes.
            let (mut host, _not_read) = tokio::io::duplex(4);
            let mut tool = tokio::io::empty();
            let passing = pass(&mut body, &mut inbox, &mut tool, &mut host, &mut sent);
            tokio::select! {
                biased;
                _ = passing => panic!("there is no room for all of it"),
                () = std::future::ready(()) => {}
            }
            assert!(!body.is_over(), "{bytes:?}");
            assert_eq!(inbox, bytes);
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for wrong in [
            &b"\r\n"[..],
            b"x\r\n",
            b"5\nhello",
            b"5\r\nhelloo\r\n",
            b"5\r\nhello\n",
            b"-1\r\n",
            b"0\r\n\n",
            b"0\r\nX: y\n",
            b"fffffffffffffffffffff\r\n",
            b"5;a\n",
        ] {
            let mut body = Body::CHUNKED;
            assert_eq!(body.take(wrong), Err(Malformed), "{wrong:?}");
        }
    }
}
