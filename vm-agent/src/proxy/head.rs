//! What heads of requests and answers have in common (RFC 9112 §6.3).

use super::body::Body;

/// A header as it came.
pub(super) struct Header {
    pub(super) name: String,
    pub(super) value: Vec<u8>,
}

/// The head is ambiguous, and another program might read it otherwise.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

impl Header {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether a list of words has this one.
    pub(super) fn lists(&self, word: &str) -> bool {
        let words = self.value.split(|byte| *byte == b',');
        words
            .map(<[u8]>::trim_ascii)
            .any(|listed| listed.eq_ignore_ascii_case(word.as_bytes()))
    }
}

pub(super) fn owned(headers: &[httparse::Header<'_>]) -> Vec<Header> {
    let owned = |header: &httparse::Header<'_>| Header {
        name: header.name.to_owned(),
        value: header.value.to_vec(),
    };
    headers.iter().map(owned).collect()
}

/// What the headers say of the body; `None` when they say nothing.
pub(super) fn framing(headers: &[Header]) -> Result<Option<Body>, Ambiguous> {
    let mut lengths = headers.iter().filter(|header| header.is("content-length"));
    let mut codings = headers
        .iter()
        .filter(|header| header.is("transfer-encoding"));
    match (
        (lengths.next(), lengths.next()),
        (codings.next(), codings.next()),
    ) {
        ((None, _), (None, _)) => Ok(None),
        ((Some(length), None), (None, _)) => Ok(Some(Body::Length(number(&length.value)?))),
        ((None, _), (Some(coding), None)) if coding.value.eq_ignore_ascii_case(b"chunked") => {
            Ok(Some(Body::CHUNKED))
        }
        _ => Err(Ambiguous),
    }
}

pub(super) fn wants_close(headers: &[Header]) -> bool {
    headers
        .iter()
        .any(|header| header.is("connection") && header.lists("close"))
}

fn number(digits: &[u8]) -> Result<u64, Ambiguous> {
    let digits = std::str::from_utf8(digits).map_err(|_| Ambiguous)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Ambiguous);
    }
    digits.parse().map_err(|_| Ambiguous)
}

/// More headers than this are refused.
pub(super) const MOST_HEADERS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &str)]) -> Result<Option<Body>, Ambiguous> {
        let header = |(name, value): &(&str, &str)| Header {
            name: (*name).to_owned(),
            value: value.as_bytes().to_vec(),
        };
        framing(&headers.iter().map(header).collect::<Vec<_>>())
    }

    #[test]
    fn bodies_have_a_length_or_chunks() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("Content-Length", "7")]), Ok(Some(Body::Length(7))));
        assert_eq!(
            of(&[("transfer-encoding", "Chunked")]),
            Ok(Some(Body::CHUNKED))
        );
    }

    #[test]
    fn heads_that_two_programs_may_read_differently_are_refused() {
        for headers in [
            &[("content-length", "1"), ("transfer-encoding", "chunked")][..],
            &[("content-length", "1"), ("content-length", "2")],
            &[("content-length", "1"), ("content-length", "1")],
            &[("content-length", "+1")],
            &[("content-length", "1, 1")],
            &[("content-length", "")],
            &[("content-length", "99999999999999999999999")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "xchunked")],
        ] {
            assert_eq!(of(headers), Err(Ambiguous), "{headers:?}");
        }
    }
}
