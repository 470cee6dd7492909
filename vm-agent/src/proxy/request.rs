//! A tool's request: found its token, and written anew with the key in its place.

use keyferry_protocol::memory::{Arena, LockedBox, scrub};

use super::body::Body;
use super::head::{Header, MOST_HEADERS, framing, owned, wants_close};
use super::refusal::Refused;
use super::token::token_in;

/// A request's head.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<Header>,
    /// What stands for the key.
    pub(super) token: String,
    /// The host that it names by a path of `/@host/...`, else the key's first one.
    pub(super) host: Option<String>,
    pub(super) body: Body,
    /// Whether the tool will send another one.
    pub(super) keep_alive: bool,
    /// Whether it asks for another protocol, as WebSocket does.
    pub(super) upgrade: bool,
}

impl Request {
    /// Reads the head at the start of `bytes`, and tells its length; `None` until it is whole.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Refused> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let length = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length <= LONGEST => length,
            Ok(httparse::Status::Partial) if bytes.len() <= LONGEST => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Refused::HeadTooLong),
            Err(_) => return Err(Refused::Malformed),
        };
        let (Some(method), Some(target), Some(1)) = (parsed.method, parsed.path, parsed.version)
        else {
            return Err(Refused::Malformed);
        };
        if method == "CONNECT" {
            return Err(Refused::Malformed);
        }
        let headers = owned(parsed.headers);
        let (host, target) = split_host(target)?;
        let found = headers.iter().find_map(|header| token_in(&header.value));
        let token = found.or_else(|| token_in(target.as_bytes()));
        let request = Self {
            method: method.to_owned(),
            token: token.ok_or(Refused::NoToken)?.to_owned(),
            body: framing(&headers)
                .map_err(|_ambiguous| Refused::Malformed)?
                .unwrap_or(Body::NONE),
            keep_alive: !wants_close(&headers),
            upgrade: headers
                .iter()
                .any(|header| header.is("connection") && header.lists("upgrade")),
            target,
            host,
            headers,
        };
        Ok(Some((request, length)))
    }

    /// Whether the answer to it has no body.
    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether it may be sent again when the host closed an idle connection just then.
    pub(super) fn may_be_repeated(&self) -> bool {
        self.body == Body::NONE && ["GET", "HEAD"].contains(&self.method.as_str())
    }

    /// Google's `?key=` would stay in the logs of its servers: the header says the same.
    pub(super) fn move_key_parameter(&mut self) {
        let parameter = format!("key={}", self.token);
        let Some((path, query)) = self.target.split_once('?') else {
            return;
        };
        if !query.split('&').any(|part| part == parameter) {
            return;
        }
        let rest: Vec<_> = query.split('&').filter(|part| *part != parameter).collect();
        let mark = if rest.is_empty() { "" } else { "?" };
        self.target = format!("{path}{mark}{}", rest.join("&"));
        if !self
            .headers
            .iter()
            .any(|header| header.is("x-goog-api-key"))
        {
            let value = self.token.clone().into_bytes();
            let name = "x-goog-api-key".to_owned();
            self.headers.push(Header { name, value });
        }
    }

    /// The head for `host`, with `key` wherever the token was.
    pub(super) fn write(
        &self,
        host: &str,
        key: &[u8],
        arena: &Arena,
    ) -> Result<LockedBox, Refused> {
        if key.iter().any(|byte| byte.is_ascii_control()) {
            return Err(Refused::KeyUnusable);
        }
        locked(arena, |out| self.emit(host, key, out))
    }

    /// Of the head for `host` with this key, in bytes.
    pub(super) fn length(&self, host: &str, key: &[u8]) -> u64 {
        let mut length = 0;
        self.emit(host, key, &mut |bytes| length += bytes.len() as u64);
        length
    }

    fn emit(&self, host: &str, key: &[u8], out: &mut dyn FnMut(&[u8])) {
        out(self.method.as_bytes());
        out(b" ");
        self.emit_swapped(self.target.as_bytes(), out, |out| emit_in_url(key, out));
        out(b" HTTP/1.1\r\nHost: ");
        out(host.as_bytes());
        out(b"\r\n");
        for header in self.headers.iter().filter(|header| self.passes(header)) {
            out(header.name.as_bytes());
            out(b": ");
            self.emit_swapped(&header.value, out, |out| out(key));
            out(b"\r\n");
        }
        if self.upgrade {
            out(b"Connection: Upgrade\r\n");
        }
        out(b"\r\n");
    }

    /// A text, with what `key` emits wherever the token was.
    pub(super) fn emit_swapped(
        &self,
        text: &[u8],
        out: &mut dyn FnMut(&[u8]),
        key: impl Fn(&mut dyn FnMut(&[u8])),
    ) {
        let token = self.token.as_bytes();
        let mut rest = text;
        while let Some(at) = rest.windows(token.len()).position(|window| window == token) {
            let (before, after) = rest.split_at(at);
            out(before);
            key(out);
            rest = after.get(token.len()..).unwrap_or_default();
        }
        out(rest);
    }

    /// What is between two neighbours is not passed on (RFC 9110 §7.6.1).
    pub(super) fn passes(&self, header: &Header) -> bool {
        let between = ["host", "connection", "proxy-connection", "keep-alive"];
        let secret = ["proxy-authorization"];
        let dropped = between.iter().chain(&secret).any(|name| header.is(name));
        !(dropped || header.is("upgrade") && !self.upgrade)
    }
}

/// What is emitted, in locked memory.
pub(super) fn locked(
    arena: &Arena,
    emit: impl Fn(&mut dyn FnMut(&[u8])),
) -> Result<LockedBox, Refused> {
    let mut length = 0;
    emit(&mut |bytes| length += bytes.len());
    let mut text = arena.take(length).map_err(|_used_up| Refused::Busy)?;
    let mut rest = text.expose_mut();
    emit(&mut |bytes| {
        let (into, after) = std::mem::take(&mut rest).split_at_mut(bytes.len());
        into.copy_from_slice(bytes);
        rest = after;
    });
    scrub();
    Ok(text)
}

/// `/@host/path` is `/path` at that host of the key.
fn split_host(target: &str) -> Result<(Option<String>, String), Refused> {
    let path = target.strip_prefix('/').ok_or(Refused::Malformed)?;
    let Some(named) = path.strip_prefix('@') else {
        return Ok((None, target.to_owned()));
    };
    let end = named.find(['/', '?']).unwrap_or(named.len());
    let (host, rest) = named.split_at(end);
    let slash = if rest.starts_with('/') { "" } else { "/" };
    Ok((Some(host.to_ascii_lowercase()), format!("{slash}{rest}")))
}

/// RFC 3986 §2.3: other characters are encoded.
fn emit_in_url(key: &[u8], out: &mut dyn FnMut(&[u8])) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    for byte in key {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out(std::slice::from_ref(byte));
        } else {
            out(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// With the key in it, it fits the largest piece of locked memory.
pub(super) const LONGEST: usize = 48 * 1024;

#[cfg(test)]
mod tests {
    use keyferry_protocol::memory::ProtectionLevel;

    use super::*;

    const TOKEN: &str = "kfp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn parsed(text: &str) -> Result<Request, Refused> {
        let text = text.replace("TOKEN", TOKEN).replace('\n', "\r\n");
        let (request, length) = Request::parse(text.as_bytes())?.unwrap();
        assert_eq!(length, text.len());
        Ok(request)
    }

    fn written(request: &Request, key: &str) -> String {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let head = request
            .write("api.example.org", key.as_bytes(), &arena)
            .unwrap();
        String::from_utf8(head.expose().to_vec())
            .unwrap()
            .replace("\r\n", "\n")
    }

    #[test]
    fn the_key_takes_the_tokens_place_and_nothing_else_changes() {
        let request = parsed(
            "POST /v1/chat?x=1 HTTP/1.1\nhost: 127.0.0.1:9\nAuthorization: Bearer TOKEN\n\
             X-Odd:  two  words \nContent-Length: 2\nConnection: keep-alive\n\
             Proxy-Authorization: no\nUpgrade: h2c\n\n",
        )
        .unwrap();
        assert_eq!(request.body, Body::Length(2));
        assert!(request.keep_alive && !request.upgrade);
        assert_eq!(
            written(&request, "sk-1"),
            "POST /v1/chat?x=1 HTTP/1.1\nHost: api.example.org\nAuthorization: Bearer sk-1\n\
             X-Odd: two  words\nContent-Length: 2\n\n"
        );
    }

    #[test]
    fn a_websocket_keeps_its_upgrade_and_has_the_key_in_its_subprotocol() {
        let request = parsed(
            "GET /v1/realtime HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\n\
             Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.TOKEN\n\n",
        )
        .unwrap();
        assert_eq!(
            written(&request, "sk-1"),
            "GET /v1/realtime HTTP/1.1\nHost: api.example.org\nUpgrade: websocket\n\
             Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-1\n\
             Connection: Upgrade\n\n"
        );
    }

    #[test]
    fn a_key_in_the_query_is_encoded_and_googles_becomes_a_header() {
        let mut request = parsed("GET /v1/models?a=b&key=TOKEN&c HTTP/1.1\n\n").unwrap();
        assert!(written(&request, "s+k/1").starts_with("GET /v1/models?a=b&key=s%2Bk%2F1&c "));
        request.move_key_parameter();
        assert_eq!(
            written(&request, "s+k/1"),
            "GET /v1/models?a=b&c HTTP/1.1\nHost: api.example.org\nx-goog-api-key: s+k/1\n\n"
        );
        let mut alone = parsed("GET /v1/models?key=TOKEN HTTP/1.1\n\n").unwrap();
        alone.move_key_parameter();
        assert!(written(&alone, "k").starts_with("GET /v1/models HTTP/1.1\n"));
    }

    #[test]
    fn a_path_may_name_the_host() {
        let of = |path| {
            parsed(&format!("GET {path} HTTP/1.1\nx-api-key: TOKEN\n\n"))
                .map(|request| (request.host, request.target))
        };
        let (host, path) = of("/@EU.example.org:8443/v1?x").unwrap();
        assert_eq!(
            (host.as_deref(), path.as_str()),
            (Some("eu.example.org:8443"), "/v1?x")
        );
        assert_eq!(of("/@h").unwrap(), (Some("h".to_owned()), "/".to_owned()));
        assert_eq!(of("/v1/@x").unwrap(), (None, "/v1/@x".to_owned()));
    }

    #[test]
    fn what_a_proxy_may_not_pass_on_is_refused() {
        for (text, reason) in [
            ("GET / HTTP/1.1\n\n", Refused::NoToken),
            ("GET / HTTP/1.0\nx: TOKEN\n\n", Refused::Malformed),
            ("GET http://x/ HTTP/1.1\nx: TOKEN\n\n", Refused::Malformed),
            ("CONNECT x:1 HTTP/1.1\nx: TOKEN\n\n", Refused::Malformed),
            ("CONNECT /x HTTP/1.1\nx: TOKEN\n\n", Refused::Malformed),
            ("OPTIONS * HTTP/1.1\nx: TOKEN\n\n", Refused::Malformed),
            (
                "POST / HTTP/1.1\nx: TOKEN\nContent-Length: 1\nTransfer-Encoding: chunked\n\n",
                Refused::Malformed,
            ),
            ("GET / HTTP/1.1\nx y: TOKEN\n\n", Refused::Malformed),
        ] {
            assert_eq!(parsed(text).err(), Some(reason), "{text}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(LONGEST));
        assert_eq!(
            Request::parse(long.as_bytes()).err(),
            Some(Refused::HeadTooLong)
        );
    }

    #[test]
    fn a_key_that_would_break_the_head_is_refused() {
        let request = parsed("GET / HTTP/1.1\nx: TOKEN\n\n").unwrap();
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        for key in [&b"a\r\nb"[..], b"a\0", b"a\n"] {
            let refused = request.write("h", key, &arena).err();
            assert_eq!(refused, Some(Refused::KeyUnusable));
        }
    }
}
