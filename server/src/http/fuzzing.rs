//! Entry points for the fuzz targets: the first things that a stranger's bytes meet.

use std::sync::LazyLock;

use super::describe::Schemas;
use super::raw_head::{Framing, MAX_FIELDS, Scan, inspect, scan};
use super::routes::ROUTES;
use crate::error::ApiError;

/// How one route reads its body.
pub(super) type ReadBody = fn(&[u8]) -> Result<(), ApiError>;

static BODIES: LazyLock<Vec<ReadBody>> = LazyLock::new(|| {
    let mut schemas = Schemas::new();
    let reader = |route: &super::table::Route| {
        let mut operation = schemas.operation();
        (route.describe)(&mut operation);
        operation.reads
    };
    ROUTES.iter().filter_map(reader).collect()
});

/// Looks for a head, at once and in two pieces, and reads it as the parser behind the guard does.
pub fn request_head(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = scan(bytes, 0);
    let first = bytes.get(..usize::from(*cut)).unwrap_or(bytes);
    if let Ok(Scan::Partial(from)) = scan(first, 0) {
        assert_eq!(
            scan(bytes, from),
            whole,
            "a head ends elsewhere when it comes in pieces"
        );
    }
    if let Ok(Scan::Complete(end)) = whole {
        let head = bytes.get(..end).unwrap_or_default();
        if let Ok(framing) = inspect(head) {
            read_alike(head, framing);
        }
    }
}

/// What the guard lets through, the parser behind it refuses or reads in the same way.
fn read_alike(head: &[u8], framing: Framing) {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(status) = request.parse(head) else {
        return;
    };
    assert_eq!(
        status,
        httparse::Status::Complete(head.len()),
        "two parsers see two ends"
    );
    let named = |name: &str| {
        let fields = request.headers.iter();
        fields
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .collect::<Vec<_>>()
    };
    assert_eq!(named("host").len(), 1, "a request has one host");
    let lengths = named("content-length");
    assert!(lengths.len() <= 1, "a request has two lengths");
    if let (Some(length), Framing::Length(told)) = (lengths.first(), framing) {
        let length = std::str::from_utf8(length.value).ok();
        let length = length.and_then(|digits| digits.parse().ok());
        assert_eq!(length, Some(told), "two parsers see two lengths");
    }
    let chunked = !named("transfer-encoding").is_empty();
    assert!(
        !chunked || framing == Framing::Rest,
        "two parsers see two framings"
    );
}

/// Reads bytes as the JSON body of every route that takes one.
pub fn json_body(bytes: &[u8]) {
    for read in BODIES.iter() {
        let Err(refused) = read(bytes) else {
            continue;
        };
        for fault in refused.fields() {
            assert!(
                fault.field.len() <= 64,
                "an answer repeats whatever was sent"
            );
        }
    }
}
