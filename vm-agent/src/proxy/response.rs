//! A host's answer: passed on as it came, read only for where it ends.

use super::body::Body;
use super::head::{MOST_HEADERS, framing, owned, wants_close};
use super::refusal::Refused;

/// An answer's head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    /// Of the head, in bytes.
    pub(super) length: usize,
    pub(super) body: Body,
    /// Whether the connection can be used again.
    pub(super) keep_alive: bool,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Another head follows.
    Interim,
    /// The protocol changes.
    Switching,
    Final,
}

impl Response {
    /// Reads the head at the start of `bytes`; `None` until it is whole.
    pub(super) fn parse(bytes: &[u8], of_head: bool) -> Result<Option<Self>, Refused> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let length = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() <= LONGEST => return Ok(None),
            Ok(_) | Err(_) => return Err(Refused::BadAnswer),
        };
        let code = parsed.code.ok_or(Refused::BadAnswer)?;
        let headers = owned(parsed.headers);
        let kind = match code {
            101 => Kind::Switching,
            100..=199 => Kind::Interim,
            _ => Kind::Final,
        };
        let bodiless = of_head || kind != Kind::Final || [204, 304].contains(&code);
        let body = if bodiless {
            Body::NONE
        } else {
            let told = framing(&headers).map_err(|_ambiguous| Refused::BadAnswer)?;
            told.unwrap_or(Body::UntilClose)
        };
        Ok(Some(Self {
            length,
            keep_alive: parsed.version == Some(1)
                && !wants_close(&headers)
                && body != Body::UntilClose,
            body,
            kind,
        }))
    }
}

const LONGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Response {
        Response::parse(text.as_bytes(), false).unwrap().unwrap()
    }

    #[test]
    fn answers_end_where_they_say() {
        let of = |text| {
            let response = parsed(text);
            (response.body, response.keep_alive)
        };
        assert_eq!(
            of("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
            (Body::Length(3), true)
        );
        assert_eq!(
            of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (Body::CHUNKED, true)
        );
        assert_eq!(of("HTTP/1.1 200 OK\r\n\r\n"), (Body::UntilClose, false));
        assert_eq!(of("HTTP/1.1 204 No Content\r\n\r\n"), (Body::NONE, true));
        assert_eq!(
            of("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"),
            (Body::Length(3), false)
        );
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        let response = Response::parse(text, true).unwrap().unwrap();
        assert_eq!(response.body, Body::NONE);
    }

    #[test]
    fn interim_answers_are_followed_by_another() {
        assert_eq!(parsed("HTTP/1.1 100 Continue\r\n\r\n").kind, Kind::Interim);
        let switching = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
        assert_eq!(parsed(switching).kind, Kind::Switching);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ] {
            let refused = Response::parse(text.as_bytes(), false);
            assert_eq!(refused, Err(Refused::BadAnswer), "{text}");
        }
    }
}
