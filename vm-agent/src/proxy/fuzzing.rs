//! Entry points for the fuzz targets: what a tool and a host send to the proxy.

use keyferry_protocol::memory::Arena;

use super::body::{Body, LONGEST_TRAILER, Malformed};
use super::head::{MOST_HEADERS, framing, owned};
use super::request::Request;
use super::response::Response;

/// Reads a tool's head and writes it anew with a key; a host must read exactly one request in it.
pub fn request(bytes: &[u8], arena: &Arena) {
    let Ok(Some((mut request, length))) = Request::parse(bytes) else {
        return;
    };
    assert!(length <= bytes.len(), "a head ends within its bytes");
    request.move_key_parameter();
    let Ok(head) = request.write(HOST, KEY, arena) else {
        return;
    };
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS + 2];
    let mut parsed = httparse::Request::new(&mut headers);
    let end = parsed.parse(head.expose());
    assert_eq!(
        end,
        Ok(httparse::Status::Complete(head.len())),
        "what is passed on is one head"
    );
    let headers = owned(parsed.headers);
    let mut hosts = headers.iter().filter(|header| header.is("host"));
    assert!(
        hosts
            .next()
            .is_some_and(|host| host.value == HOST.as_bytes())
            && hosts.next().is_none(),
        "a request names the one host that it goes to"
    );
    let token = request.token.as_bytes();
    let has_token = |value: &[u8]| value.windows(token.len()).any(|window| window == token);
    assert!(
        !headers.iter().any(|header| has_token(&header.value))
            && !parsed.path.is_some_and(|path| has_token(path.as_bytes())),
        "a token leaves the machine"
    );
    let body = framing(&headers).map(|body| body.unwrap_or(Body::NONE));
    assert_eq!(body, Ok(request.body), "a body has two lengths");
}

/// Reads a host's answer, and its body in two pieces and in one.
pub fn answer(bytes: &[u8]) {
    let Some(([how, cut], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let read = || Response::parse(bytes, how & 1 == 1).ok().flatten();
    let (Some(at_once), Some(in_pieces)) = (read(), read()) else {
        return;
    };
    let (_head, body) = bytes.split_at(at_once.length);
    bodies_end_alike((at_once.body, in_pieces.body), (body, (*cut).into()));
}

/// Reads chunks in two pieces and in one.
pub fn chunks(bytes: &[u8]) {
    if let Some((cut, body)) = bytes.split_first() {
        bodies_end_alike((Body::CHUNKED, Body::CHUNKED), (body, (*cut).into()));
        data_ends_with_its_body(body);
    }
}

/// What is taken out of chunks for HTTP/2 ends where the chunks end.
fn data_ends_with_its_body(bytes: &[u8]) {
    let (mut body, mut trailer, mut taken) = (Body::CHUNKED, Vec::new(), 0);
    let data = loop {
        let (_, rest) = bytes.split_at(taken);
        match body.next(rest, &mut trailer) {
            Ok((_, 0)) => break Ok(taken),
            Ok((data, more)) => {
                assert!(data.end <= more, "data ends within what was taken");
                taken += more;
            }
            Err(malformed) => break Err(malformed),
        }
    };
    if bytes.len() < LONGEST_TRAILER {
        assert_eq!(Body::CHUNKED.take(bytes), data, "data ends elsewhere");
    }
}

fn bodies_end_alike((mut at_once, mut in_pieces): (Body, Body), (bytes, cut): (&[u8], usize)) {
    let whole = at_once.take(bytes);
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    let pieces = in_pieces.take(first).and_then(|taken| {
        let later = if taken == first.len() {
            in_pieces.take(second)?
        } else {
            0
        };
        Ok::<_, Malformed>(taken + later)
    });
    assert_eq!(
        whole, pieces,
        "a body ends elsewhere when it comes in pieces"
    );
    if whole.is_ok() {
        assert_eq!(
            at_once, in_pieces,
            "a body is elsewhere when it comes in pieces"
        );
    }
}

const HOST: &str = "api.example.org";
const KEY: &[u8] = b"sk-the-real-one";
