//! Requests: the head as the routes read it, and the body, bounded in size and time.

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{HeaderMap, Method, Request, Uri};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use tokio::time::timeout;
use zeroize::{Zeroize, Zeroizing};

use super::table::Call;
use crate::error::ApiError;

/// A request without its body.
pub(super) struct Head {
    pub(super) method: Method,
    uri: Uri,
    pub(super) headers: HeaderMap,
}

impl Head {
    pub(super) fn new<B>(request: &Request<B>) -> Self {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self {
            method,
            uri,
            headers: request.headers().clone(),
        }
    }

    /// The path's segments, without the prefix of earlier systems.
    pub(super) fn path(&self) -> Vec<&str> {
        let path = self.uri.path().strip_prefix('/').unwrap_or_default();
        let mut segments: Vec<&str> = path.split('/').collect();
        if segments.first() == Some(&"api") {
            segments.remove(0);
            if segments.first() == Some(&"v2") {
                segments.remove(0);
            }
        }
        if segments == [""] {
            segments.clear();
        }
        segments
    }

    /// The prefix of earlier systems, with which this client speaks.
    pub(super) fn prefix(&self) -> &str {
        let path = self.uri.path();
        let prefix = ["/api/v2", "/api"].into_iter().find(|prefix| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        prefix.unwrap_or_default()
    }

    /// Whether the request only looks at something.
    pub(super) fn changes_nothing(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// The members of the query, decoded; those that are not well formed are left out.
    pub(super) fn query_members(&self) -> Vec<(String, String)> {
        let query = self.uri.query().unwrap_or_default();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter_map(|(name, value)| Some((decoded(name)?, decoded(value)?)))
            .collect()
    }

    /// The token of `Authorization: Bearer TOKEN`.
    pub(super) fn bearer(&self) -> Option<&str> {
        let text = self.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    fn speaks_json(&self) -> bool {
        let kind = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
        essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
    }
}

/// `application/x-www-form-urlencoded`.
fn decoded(text: &str) -> Option<String> {
    percent_decoded(&text.replace('+', " "))
}

/// RFC 3986 §2.1; none when it is not well formed.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        bytes.push(match first {
            b'%' => {
                let (digits, more) = rest.split_at_checked(2)?;
                rest = more;
                let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            plain => *plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The one JSON object in the body.
pub(super) async fn json<T: DeserializeOwned>(
    call: &Call<'_>,
    request: Request<Incoming>,
) -> Result<T, ApiError> {
    if !call.head.speaks_json() {
        return Err(ApiError::UnsupportedMediaType);
    }
    parse(&read(call, request).await?)
}

/// Whether nothing follows the head.
pub(super) fn has_no_body(request: &Request<Incoming>) -> bool {
    request.body().is_end_stream()
}

/// Nothing, or an empty object.
pub(super) async fn no_body(call: &Call<'_>, request: Request<Incoming>) -> Result<(), ApiError> {
    if has_no_body(&request) {
        return Ok(());
    }
    match read(call, request).await?.trim_ascii() {
        b"" | b"{}" => Ok(()),
        _ => Err(ApiError::invalid("body", "must be empty")),
    }
}

async fn read(call: &Call<'_>, request: Request<Incoming>) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let deadline = call.connection.app.config.connections.body;
    let limited = Limited::new(request.into_body(), MAX_BODY);
    timeout(deadline, gather(limited))
        .await
        .map_err(|_| ApiError::RequestTimeout)?
}

async fn gather(mut body: Limited<Incoming>) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BODY));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| {
            if cause.is::<LengthLimitError>() {
                return ApiError::BodyTooLarge;
            }
            ApiError::MalformedRequest("The body does not end as its head said.")
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        bytes.extend_from_slice(&data);
        // Alone with its bytes we can wipe them; else they go when hyper frees its buffer.
        if let Ok(mut own) = data.try_into_mut() {
            own.as_mut().zeroize();
        }
    }
    Ok(bytes)
}

/// Parses one object. The parser's own words can repeat what was sent, so they are not passed on.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::InvalidJson);
    }
    serde_json::from_slice(bytes).map_err(|cause| {
        // `null` for a word is a syntax error to serde_json, though the object is sound.
        let sound = || serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
        if cause.classify() == Category::Data || sound() {
            fault_of(&cause, bytes)
        } else {
            ApiError::InvalidJson
        }
    })
}

fn fault_of(cause: &serde_json::Error, bytes: &[u8]) -> ApiError {
    let words = cause.to_string();
    let named = |start: &str| {
        words
            .strip_prefix(start)
            .and_then(|rest| rest.split('`').next())
            .filter(|name| name.len() <= LONGEST_NAME)
    };
    if let Some(field) = named("unknown field `") {
        ApiError::invalid(field, "is not known here")
    } else if let Some(field) = named("missing field `") {
        ApiError::invalid(field, "is missing")
    } else {
        let field = member_before(bytes, cause.line(), cause.column());
        ApiError::invalid(&field, choices(&words).as_deref().unwrap_or(WRONG))
    }
}

/// What a word could have been: ours, behind the caller's.
fn choices(words: &str) -> Option<String> {
    let (_theirs, ours) = words
        .strip_prefix("unknown variant `")?
        .rsplit_once("`, expected ")?;
    let (ours, _place) = ours.rsplit_once(" at line ")?;
    Some(format!("must be {}", ours.replace('`', "")))
}

const WRONG: &str = "has a wrong type or value";

/// The member whose value ends at this place: the last name before it.
fn member_before(bytes: &[u8], line: usize, column: usize) -> String {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let text = String::from_utf8_lossy(bytes.get(..before + column).unwrap_or(bytes));
    let name = text
        .rsplit_once("\":")
        .and_then(|(start, _)| start.rsplit_once('"'));
    let name = name
        .map(|(_, name)| name)
        .filter(|name| name.len() <= LONGEST_NAME);
    name.unwrap_or("body").to_owned()
}

/// A longer name than any member has is not repeated.
const LONGEST_NAME: usize = 64;
/// The largest body, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use hyper::Request;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::{Head, parse, percent_decoded};
    use crate::error::{ApiError, FieldError};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        #[expect(dead_code, reason = "only parsed")]
        size: u8,
    }

    fn fault(text: &str) -> (&'static str, Option<FieldError>) {
        let refused = parse::<Thing>(text.as_bytes()).unwrap_err();
        (refused.code(), refused.fields().into_iter().next())
    }

    fn path(uri: &str) -> Vec<String> {
        let request = Request::builder().uri(uri).body(()).unwrap();
        Head::new(&request)
            .path()
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_prefix_is_stripped_once() {
        for uri in ["/keys/a", "/api/keys/a", "/api/v2/keys/a?limit=1"] {
            assert_eq!(path(uri), ["keys", "a"]);
        }
        assert_eq!(path("/api/api/keys"), ["api", "keys"]);
        assert_eq!(path("/keys//a"), ["keys", "", "a"]);
        assert!(path("/").is_empty() && path("/api").is_empty() && path("/api/v2").is_empty());
    }

    #[test]
    fn a_query_is_decoded() {
        let request = Request::builder()
            .uri("/a?code=a%2Fb+c&x=%zz&y=%&z=")
            .body(())
            .unwrap();
        let pairs = [("code", "a/b c"), ("z", "")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(Head::new(&request).query_members(), pairs);
    }

    #[test]
    fn only_two_hexadecimal_digits_stand_for_a_byte() {
        for (text, decoded) in [
            ("o%27brien%40x+y", Some("o'brien@x+y")),
            ("%C3%A4nne", Some("\u{e4}nne")),
            ("%2525", Some("%25")),
            ("%+1", None),
            ("%4", None),
            ("%C3", None),
        ] {
            assert_eq!(percent_decoded(text).as_deref(), decoded, "{text}");
        }
    }

    #[test]
    fn null_for_a_word_is_a_wrong_value_and_no_broken_json() {
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Word {
            Yes,
        }
        #[derive(Debug, Deserialize)]
        struct Said {
            #[expect(dead_code, reason = "only parsed")]
            word: Word,
        }
        let refused = parse::<Said>(b"{\"word\": null}").unwrap_err();
        assert_eq!(refused.code(), "invalid_input");
        assert_eq!(refused.fields()[0].field, "word");
    }

    #[test]
    fn a_word_that_is_none_of_ours_is_answered_with_those() {
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Colour {
            Red,
            Green,
            Blue,
        }
        #[derive(Debug, Deserialize)]
        struct Painted {
            #[expect(dead_code, reason = "only parsed")]
            colour: Colour,
        }
        for evil in ["pink", "a`, expected b"] {
            let text = format!("{{\"colour\": \"{evil}\"}}");
            let refused = parse::<Painted>(text.as_bytes()).unwrap_err();
            let told = FieldError::new("colour", "must be one of red, green, blue");
            assert_eq!(refused.fields(), [told]);
        }
    }

    #[test]
    fn the_member_at_fault_is_named() {
        let named = |field: &str, detail: &str| Some(FieldError::new(field, detail));
        assert_eq!(fault("{}"), ("invalid_input", named("size", "is missing")));
        assert_eq!(
            fault("{\"sise\": 1}"),
            ("invalid_input", named("sise", "is not known here"))
        );
        let wrong = named("size", "has a wrong type or value");
        assert_eq!(
            fault("{\"size\": \"hush\"}"),
            ("invalid_input", wrong.clone())
        );
        assert_eq!(fault("{\n \"size\": 300}"), ("invalid_input", wrong));
    }

    #[test]
    fn only_one_object_is_json_enough() {
        for text in [
            "",
            "[]",
            "{",
            "{\"size\": 1} {}",
            "null",
            "\"x\"",
            "{\"size\": 1,}",
        ] {
            assert!(
                matches!(parse::<Thing>(text.as_bytes()), Err(ApiError::InvalidJson)),
                "{text}"
            );
        }
        assert!(parse::<Thing>(b" {\"size\": 1} ").is_ok());
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse::<Thing>(&bytes);
        }
    }
}
