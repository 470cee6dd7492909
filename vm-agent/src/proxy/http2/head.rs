//! A request's head in HTTP/2: what hyper may see of it, and what only TLS may.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Uri};
use keyferry_protocol::memory::{Arena, LockedBox};

use super::wire::LONGEST_FIELDS;
use crate::proxy::head::Header;
use crate::proxy::refusal::Refused;
use crate::proxy::request::{Request, locked};

impl Request {
    /// The head for `authority` without the fields that have the token; `None` where it cannot be
    /// said in HTTP/2: the key would be in the path, or another protocol is asked for.
    pub(in crate::proxy) fn for_http2(&self, authority: &str) -> Option<hyper::Request<()>> {
        if self.upgrade || self.target.contains(&self.token) {
            return None;
        }
        let uri = Uri::builder().scheme("https").authority(authority);
        let uri = uri.path_and_query(self.target.as_str()).build().ok()?;
        if uri.path_and_query()?.as_str() != self.target {
            return None;
        }
        let mut head = hyper::Request::new(());
        *head.uri_mut() = uri;
        *head.method_mut() = Method::from_bytes(self.method.as_bytes()).ok()?;
        let plain = |header: &&Header| self.passes_on(header) && !self.has_token(header);
        for header in self.headers.iter().filter(plain) {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            let value = HeaderValue::from_bytes(&header.value).ok()?;
            head.headers_mut().append(name, value);
        }
        Some(head)
    }

    /// The fields that have the token, with `key` in its place: never indexed, never shortened
    /// (RFC 7541 §6.2.3), so that they fit behind any block of fields.
    pub(in crate::proxy) fn fields_with_key(
        &self,
        key: &[u8],
        arena: &Arena,
    ) -> Result<LockedBox, Refused> {
        if key.iter().any(|byte| byte.is_ascii_control()) {
            return Err(Refused::KeyUnusable);
        }
        let fields = locked(arena, |out| self.emit_fields(key, out))?;
        if fields.len() > LONGEST_FIELDS {
            return Err(Refused::HeadTooLong);
        }
        Ok(fields)
    }

    /// Whether the tool sends its body only when it is told to go on.
    pub(super) fn expects_to_be_continued(&self) -> bool {
        let expects = |header: &Header| header.is("expect") && header.lists("100-continue");
        self.headers.iter().any(expects)
    }

    fn emit_fields(&self, key: &[u8], out: &mut dyn FnMut(&[u8])) {
        let secret = |header: &&Header| self.passes_on(header) && self.has_token(header);
        for header in self.headers.iter().filter(secret) {
            let mut length = 0;
            let mut count = |bytes: &[u8]| length += bytes.len();
            self.emit_swapped(&header.value, &mut count, |out| out(key));
            out(&[NEVER_INDEXED]);
            emit_length(header.name.len(), out);
            out(header.name.to_ascii_lowercase().as_bytes());
            emit_length(length, out);
            self.emit_swapped(&header.value, out, |out| out(key));
        }
    }

    fn has_token(&self, header: &Header) -> bool {
        let token = self.token.as_bytes();
        let mut windows = header.value.windows(token.len());
        windows.any(|window| window == token)
    }

    /// What is between two neighbours has no place in HTTP/2 (RFC 9113 §8.2.2).
    fn passes_on(&self, header: &Header) -> bool {
        let framing = ["transfer-encoding", "upgrade", "expect", "http2-settings"];
        let te = header.is("te") && !header.value.eq_ignore_ascii_case(b"trailers");
        self.passes(header) && !te && !framing.iter().any(|name| header.is(name))
    }
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1); the eighth says that no Huffman code
/// follows.
fn emit_length(length: usize, out: &mut dyn FnMut(&[u8])) {
    const PREFIX: usize = 127;
    let Some(mut rest) = length.checked_sub(PREFIX) else {
        out(&[low_byte(length)]);
        return;
    };
    out(&[low_byte(PREFIX)]);
    while rest >= 128 {
        out(&[low_byte(rest % 128) | 128]);
        rest /= 128;
    }
    out(&[low_byte(rest)]);
}

fn low_byte(number: usize) -> u8 {
    u8::try_from(number & 0xff).expect("a byte was masked out")
}

const NEVER_INDEXED: u8 = 0x10;

#[cfg(test)]
mod tests {
    use keyferry_protocol::memory::ProtectionLevel;

    use super::*;

    const TOKEN: &str = "kfp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn parsed(text: &str) -> Request {
        let text = text.replace("TOKEN", TOKEN).replace('\n', "\r\n");
        Request::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn hyper_sees_everything_but_what_has_the_token() {
        let request = parsed(
            "POST /v1/chat?x=1 HTTP/1.1\nHost: 127.0.0.1:9\nAuthorization: Bearer TOKEN\n\
             X-Odd:  two  words \nContent-Length: 2\nConnection: keep-alive\nTE: gzip\n\n",
        );
        let head = request.for_http2("api.example.org:8443").unwrap();
        assert_eq!(head.uri(), "https://api.example.org:8443/v1/chat?x=1");
        let fields: Vec<_> = head.headers().iter().collect();
        let field = |name, value| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        let expected = [field("x-odd", "two  words"), field("content-length", "2")];
        let expected: Vec<_> = expected.iter().map(|(name, value)| (name, value)).collect();
        assert_eq!(fields, expected);
    }

    #[test]
    fn the_fields_with_the_key_are_never_indexed_and_plain() {
        let request = parsed("GET / HTTP/1.1\nX: y\nAuthorization: Bearer TOKEN\n\n");
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let fields = request.fields_with_key(b"sk-1", &arena).unwrap();
        assert_eq!(fields.expose(), b"\x10\x0dauthorization\x0bBearer sk-1");
        let long = request.fields_with_key(&[b'k'; 8000], &arena).unwrap();
        // 7 + 8000 = 127 + 0x48 + 0x3d * 128
        assert_eq!(&long.expose()[15..18], &[127, 0xc8, 0x3d]);
        assert_eq!(long.len(), 18 + 8007);
        let broken = request.fields_with_key(b"a\r\nb", &arena).err();
        assert_eq!(broken, Some(Refused::KeyUnusable));
    }

    #[test]
    fn what_http2_cannot_say_is_said_in_http1() {
        for text in [
            "GET /v1/realtime HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nx: TOKEN\n\n",
            "GET /v1/models?token=TOKEN HTTP/1.1\n\n",
        ] {
            assert!(parsed(text).for_http2("h").is_none(), "{text}");
        }
    }
}
