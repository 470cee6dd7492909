//! A host's answer in HTTP/2, said to the tool in HTTP/1.1: each piece as it comes.

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::http::response::Parts;
use hyper::{Response, StatusCode};
use tokio::io::AsyncWrite;

use crate::proxy::body::send;
use crate::proxy::exchange::Answered;
use crate::proxy::refusal::Refused;

/// How the tool knows where the body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    None,
    Length,
    Chunks,
}

/// The answer, as it comes. Nothing of ours may follow its first byte.
pub(super) async fn download(
    answer: impl Future<Output = hyper::Result<Response<Incoming>>>,
    of_head: bool,
    (to, received): (&mut (impl AsyncWrite + Unpin), &mut u64),
) -> Result<Answered, Refused> {
    let (head, mut body) = answer.await.map_err(closed)?.into_parts();
    let framing = Framing::of(&head, of_head);
    if say(to, written(&head, framing), received).await.is_none() {
        return Ok(Answered::Ended);
    }
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Ok(Answered::Ended);
        };
        match frame.into_data() {
            Ok(data) if framing == Framing::None || data.is_empty() => {}
            Ok(data) => {
                if say(to, framing.piece(&data), received).await.is_none() {
                    return Ok(Answered::Ended);
                }
            }
            Err(other) => trailers = other.into_trailers().unwrap_or_default(),
        }
    }
    let last = if framing == Framing::Chunks {
        end_of_chunks(&trailers)
    } else {
        Vec::new()
    };
    let said = say(to, last, received).await;
    Ok(said.map_or(Answered::Ended, |()| Answered::Whole))
}

async fn say(to: &mut (impl AsyncWrite + Unpin), bytes: Vec<u8>, received: &mut u64) -> Option<()> {
    *received += bytes.len() as u64;
    send(to, &bytes).await.ok()
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn closed(error: hyper::Error) -> Refused {
    tracing::debug!(%error, "a host that speaks HTTP/2 did not answer");
    Refused::Closed
}

impl Framing {
    fn of(head: &Parts, of_head: bool) -> Self {
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
        if of_head || bodiless {
            Self::None
        } else if head.headers.contains_key(CONTENT_LENGTH) {
            Self::Length
        } else {
            Self::Chunks
        }
    }

    fn piece(self, data: &Bytes) -> Vec<u8> {
        match self {
            Self::Chunks => [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat(),
            Self::Length | Self::None => data.to_vec(),
        }
    }
}

fn written(head: &Parts, framing: Framing) -> Vec<u8> {
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_str()).into_bytes();
    write_fields(&head.headers, &mut text);
    if framing == Framing::Chunks {
        text.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}

fn end_of_chunks(trailers: &HeaderMap) -> Vec<u8> {
    let mut text = b"0\r\n".to_vec();
    write_fields(trailers, &mut text);
    text.extend_from_slice(b"\r\n");
    text
}

fn write_fields(fields: &HeaderMap, text: &mut Vec<u8>) {
    for (name, value) in fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, fields: &[(&'static str, &'static str)]) -> Parts {
        let mut answer = Response::builder().status(status);
        for (name, value) in fields {
            answer = answer.header(*name, *value);
        }
        answer.body(()).unwrap().into_parts().0
    }

    fn said(head: &Parts, of_head: bool) -> String {
        String::from_utf8(written(head, Framing::of(head, of_head))).unwrap()
    }

    #[test]
    fn a_tool_is_always_told_where_an_answer_ends() {
        let length = head(200, &[("content-length", "3"), ("x-a", "b")]);
        let expected = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-a: b\r\n\r\n";
        assert_eq!(said(&length, false), expected);
        assert_eq!(said(&length, true), expected);
        let open = "HTTP/1.1 429 Too Many Requests\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(said(&head(429, &[]), false), open);
        assert_eq!(
            said(&head(204, &[]), false),
            "HTTP/1.1 204 No Content\r\n\r\n"
        );
    }

    #[test]
    fn pieces_and_trailers_are_chunks_where_there_is_no_length() {
        let data = Bytes::from_static(b"0123456789abcdef");
        assert_eq!(Framing::Chunks.piece(&data), b"10\r\n0123456789abcdef\r\n");
        assert_eq!(Framing::Length.piece(&data), data);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        assert_eq!(end_of_chunks(&trailers), b"0\r\nx-sum: 7\r\n\r\n");
    }
}
