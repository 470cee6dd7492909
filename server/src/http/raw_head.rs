//! The bytes of a request head, checked before hyper sees them: what two parsers might read in two
//! ways is refused (RFC 9112 §6.3, §11.2).

/// How the bytes after a head belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes of body, then the next head.
    Length(u64),
    /// Everything that follows: a chunked body, after which the connection closes, or an upgrade.
    Rest,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Syntax,
    BareLineFeed,
    Lengths,
    Host,
    TooLarge,
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// The head ends before this offset.
    Complete(usize),
    /// The end has not come; no need to look again before this offset.
    Partial(usize),
}

impl Refusal {
    /// A request that only the guard makes, and that tells the routes of the refusal.
    pub(super) const fn stand_in(self) -> &'static [u8] {
        match self {
            Self::Syntax => b"REFUSED /syntax HTTP/1.1\r\nHost: -\r\nConnection: close\r\n\r\n",
            Self::BareLineFeed => b"REFUSED /lf HTTP/1.1\r\nHost: -\r\nConnection: close\r\n\r\n",
            Self::Lengths => b"REFUSED /lengths HTTP/1.1\r\nHost: -\r\nConnection: close\r\n\r\n",
            Self::Host => b"REFUSED /host HTTP/1.1\r\nHost: -\r\nConnection: close\r\n\r\n",
            Self::TooLarge => b"REFUSED /large HTTP/1.1\r\nHost: -\r\nConnection: close\r\n\r\n",
        }
    }

    /// The refusal that a stand-in's path tells of.
    pub(super) fn of_path(path: &str) -> Self {
        match path {
            "/lf" => Self::BareLineFeed,
            "/lengths" => Self::Lengths,
            "/host" => Self::Host,
            "/large" => Self::TooLarge,
            _ => Self::Syntax,
        }
    }
}

/// Looks for the end of a head in `bytes`, from the offset that the last look gave.
pub(super) fn scan(bytes: &[u8], from: usize) -> Result<Scan, Refusal> {
    let mut previous_end = from;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        if *byte != b'\n' {
            continue;
        }
        let line = bytes.get(previous_end..at).unwrap_or_default();
        if line.last() != Some(&b'\r') {
            return Err(Refusal::BareLineFeed);
        }
        if line.len() == 1 {
            return if at >= MAX_HEAD {
                Err(Refusal::TooLarge)
            } else {
                Ok(Scan::Complete(at + 1))
            };
        }
        previous_end = at + 1;
    }
    if bytes.len() > MAX_HEAD {
        Err(Refusal::TooLarge)
    } else {
        Ok(Scan::Partial(previous_end))
    }
}

/// Checks a whole head and says what belongs to it.
pub(super) fn inspect(head: &[u8]) -> Result<Framing, Refusal> {
    let head = std::str::from_utf8(head).map_err(|_| Refusal::Syntax)?;
    let head = head.strip_suffix("\r\n\r\n").ok_or(Refusal::Syntax)?;
    if head
        .bytes()
        .any(|b| b == 0x7f || (b < b' ' && !b"\t\r\n".contains(&b)))
    {
        return Err(Refusal::Syntax);
    }
    let mut lines = head.split("\r\n");
    let version = request_line(lines.next().unwrap_or_default())?;
    let mut seen = Seen::default();
    for line in lines {
        seen.field(line)?;
    }
    seen.framing(version)
}

/// The version of a request line whose other parts are well formed.
fn request_line(line: &str) -> Result<&str, Refusal> {
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::Syntax);
    };
    let known = is_method(method) && !target.is_empty() && !target.contains(['\t', '\r']);
    let version = ["HTTP/1.1", "HTTP/1.0"]
        .contains(&version)
        .then_some(version);
    version.filter(|_| known).ok_or(Refusal::Syntax)
}

/// The fields that decide how a request is read.
#[derive(Default)]
struct Seen<'a> {
    fields: usize,
    hosts: usize,
    length: Option<&'a str>,
    encoding: Option<&'a str>,
    upgrade: bool,
}

impl<'a> Seen<'a> {
    fn field(&mut self, line: &'a str) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(Refusal::TooLarge);
        }
        // A folded line, or a space before the colon, hides a field from some parsers.
        let (name, value) = line.split_once(':').ok_or(Refusal::Syntax)?;
        if name.is_empty() || !name.bytes().all(is_token) || value.contains('\r') {
            return Err(Refusal::Syntax);
        }
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "host" if value.is_empty() => return Err(Refusal::Host),
            "host" => self.hosts += 1,
            "content-length" if self.length.replace(value).is_some() => {
                return Err(Refusal::Lengths);
            }
            "transfer-encoding" if self.encoding.replace(value).is_some() => {
                return Err(Refusal::Lengths);
            }
            "upgrade" => self.upgrade = true,
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, version: &str) -> Result<Framing, Refusal> {
        if self.hosts != 1 {
            return Err(Refusal::Host);
        }
        match (self.length, self.encoding) {
            (Some(_), Some(_)) => Err(Refusal::Lengths),
            (None, Some(encoding)) => (encoding.eq_ignore_ascii_case("chunked")
                && version == "HTTP/1.1")
                .then_some(Framing::Rest)
                .ok_or(Refusal::Lengths),
            (Some(length), None) => {
                let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
                let length = length
                    .parse()
                    .ok()
                    .filter(|_| digits)
                    .ok_or(Refusal::Lengths)?;
                // Both at once: the bytes after an upgrade would be read as a body by some.
                if self.upgrade && length > 0 {
                    return Err(Refusal::Lengths);
                }
                Ok(if self.upgrade {
                    Framing::Rest
                } else {
                    Framing::Length(length)
                })
            }
            (None, None) if self.upgrade => Ok(Framing::Rest),
            (None, None) => Ok(Framing::Length(0)),
        }
    }
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Any word in capitals is a method, so that the answer to a strange one can be 405; but for the
/// one that needs another target, and the one that stands for what was refused.
fn is_method(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase())
        && !["CONNECT", "REFUSED"].contains(&text)
}

/// The largest head, in bytes.
pub(super) const MAX_HEAD: usize = 16 * 1024;
/// The most fields of a head.
pub(super) const MAX_FIELDS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Framing, MAX_FIELDS, MAX_HEAD, Refusal, Scan, inspect, scan};

    fn read(fields: &str) -> Result<Framing, Refusal> {
        inspect(format!("POST /x HTTP/1.1\r\n{fields}\r\n").as_bytes())
    }

    #[test]
    fn what_follows_a_head_is_known() {
        assert_eq!(read("Host: a\r\n"), Ok(Framing::Length(0)));
        assert_eq!(
            read("Host: a\r\nContent-Length: 7\r\n"),
            Ok(Framing::Length(7))
        );
        assert_eq!(
            read("Host: a\r\nTransfer-Encoding: chunked\r\n"),
            Ok(Framing::Rest)
        );
        assert_eq!(read("Host: a\r\nUpgrade: websocket\r\n"), Ok(Framing::Rest));
    }

    #[test]
    fn two_lengths_are_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Upgrade: x\r\nContent-Length: 5\r\n",
        ] {
            assert_eq!(
                read(&format!("Host: a\r\n{fields}")),
                Err(Refusal::Lengths),
                "{fields}"
            );
        }
    }

    #[test]
    fn one_host_is_demanded() {
        for fields in [
            "",
            "Host:\r\n",
            "Host: a\r\nHost: a\r\n",
            "Host: a\r\nhost: b\r\n",
        ] {
            assert_eq!(read(fields), Err(Refusal::Host), "{fields}");
        }
    }

    #[test]
    fn fields_that_parsers_read_differently_are_refused() {
        for fields in [
            "Content-Length : 5\r\n",
            " folded: 1\r\n",
            "a: 1\r\n\tfolded\r\n",
            "a\r\n",
            ": 1\r\n",
            "a: \u{1}\r\n",
            "a: b\rContent-Length: 5\r\n",
        ] {
            assert_eq!(
                read(&format!("Host: a\r\n{fields}")),
                Err(Refusal::Syntax),
                "{fields:?}"
            );
        }
        for line in [
            "GET  / HTTP/1.1",
            "GET / HTTP/2.0",
            "REFUSED / HTTP/1.1",
            "GET /",
            "\u{1}",
        ] {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(inspect(head.as_bytes()), Err(Refusal::Syntax), "{line}");
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused_as_soon_as_it_comes() {
        assert_eq!(scan(b"GET / HTTP/1.1\n", 0), Err(Refusal::BareLineFeed));
        assert_eq!(
            scan(b"GET / HTTP/1.1\r\nHost: a\n", 16),
            Err(Refusal::BareLineFeed)
        );
    }

    #[test]
    fn a_head_over_the_bounds_is_refused() {
        let long = vec![b'a'; MAX_HEAD + 1];
        assert_eq!(scan(&long, 0), Err(Refusal::TooLarge));
        let many = "Host: a\r\n".to_owned() + &"a: b\r\n".repeat(MAX_FIELDS);
        assert_eq!(read(&many), Err(Refusal::TooLarge));
    }

    proptest! {
        #[test]
        fn scanning_piece_by_piece_finds_the_same_end(cut in 0_usize..40) {
            let bytes = b"GET / HTTP/1.1\r\nHost: abc\r\nA: b\r\n\r\nrest";
            let first = scan(&bytes[..cut.min(bytes.len())], 0).unwrap();
            let end = match first {
                Scan::Complete(end) => end,
                Scan::Partial(from) => match scan(bytes, from).unwrap() {
                    Scan::Complete(end) => end,
                    Scan::Partial(_) => 0,
                },
            };
            prop_assert_eq!(&bytes[end..], b"rest");
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = scan(&bytes, 0);
            let _ = inspect(&bytes);
        }
    }
}
