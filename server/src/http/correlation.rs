//! Under which id a request is known: the caller's own, when it is well formed, or a new one.

use hyper::HeaderMap;
use hyper::header::HeaderName;
use uuid::Uuid;

use crate::traces::Caller;

/// The id that the caller's system gave to the request: from `traceparent`, else from
/// `X-Request-Id`. Anything that is not well formed is as good as absent.
pub(super) fn of(headers: &HeaderMap) -> Option<Uuid> {
    let traced = caller(headers).map(|caller| Uuid::from_bytes(caller.trace));
    traced.or_else(|| {
        let id: Uuid = text(headers, &REQUEST_ID)?.parse().ok()?;
        (!id.is_nil()).then_some(id)
    })
}

/// The span that the caller says it asks from:
/// `00-<trace id>-<parent id>-<flags>` (W3C Trace Context §3.2).
pub(super) fn caller(headers: &HeaderMap) -> Option<Caller> {
    let mut parts = text(headers, &TRACEPARENT)?.splitn(4, '-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may add to the end of what this one has.
    let flags = match (version, flags.split_once('-')) {
        ("00", None) => flags,
        ("00" | "ff", _) => return None,
        (_, Some((flags, _))) => flags,
        (_, None) => flags,
    };
    hexadecimal::<1>(version)?;
    let [flags] = hexadecimal(flags)?;
    let (trace, span) = (hexadecimal(trace)?, hexadecimal(span)?);
    let is_one = trace != [0; 16] && span != [0; 8];
    is_one.then_some(Caller { trace, span, flags })
}

/// A field that is there once.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok();
    first.filter(|_| values.next().is_none())
}

/// Exactly so many bytes in lower-case hexadecimal.
fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let lower = |digit: &u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(digit);
    if digits.len() != 2 * N || !digits.iter().all(lower) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Where the id is told in every answer, too.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    fn of(fields: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        super::of(&headers).map(|id| id.to_string())
    }

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const ID: &str = "0192a9f0-0000-7000-8000-000000000001";

    #[test]
    fn a_trace_goes_before_an_id() {
        let trace = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736".to_owned();
        let both = of(&[("traceparent", TRACE), ("x-request-id", ID)]);
        assert_eq!(both, Some(trace));
        assert_eq!(of(&[("x-request-id", ID)]), Some(ID.to_owned()));
    }

    #[test]
    fn what_is_not_well_formed_is_absent() {
        for field in [
            ("x-request-id", "7"),
            ("x-request-id", "00000000-0000-0000-0000-000000000000"),
            (
                "traceparent",
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            ),
            (
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            ),
            (
                "traceparent",
                "00-4BF92F3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ),
            (
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            ),
            (
                "traceparent",
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ),
            (
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            ),
        ] {
            assert_eq!(of(&[field]), None, "{field:?}");
        }
        assert_eq!(of(&[("x-request-id", ID), ("x-request-id", ID)]), None);
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(of(&[("traceparent", later)]).is_some());
    }
}
