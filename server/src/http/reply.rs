//! Answers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use tracing::error;
use uuid::Uuid;

use super::correlation::REQUEST_ID;
use super::events::Events;
use crate::error::{ApiError, FieldError};
use crate::limits::{Quota, Standing};

/// An answer, whole in memory, or events as they happen.
pub(super) type Reply = Response<Either<Full<Bytes>, Events>>;

/// RFC 9457.
#[derive(Serialize, JsonSchema)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
}

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Result<Reply, ApiError> {
    let bytes = serde_json::to_vec(body).map_err(ApiError::internal)?;
    Ok(with_body(status, "application/json", bytes))
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Either::Left(Full::default()));
    *reply.status_mut() = status;
    reply
}

/// The same answer, after which the connection closes, and its buffers are freed and wiped.
pub(super) fn closing(mut reply: Reply) -> Reply {
    reply
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// The answer to a refused request.
pub(super) fn problem(refused: &ApiError) -> Reply {
    let status = StatusCode::from_u16(refused.status()).expect("the codes are those of HTTP");
    let problem = Problem {
        kind: format!("urn:keyferry:error:{}", refused.code()),
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        code: refused.code(),
        detail: refused.to_string(),
        errors: refused.fields(),
    };
    let bytes = serde_json::to_vec(&problem).expect("a problem is plain text and numbers");
    let mut reply = with_body(status, "application/problem+json", bytes);
    let headers = reply.headers_mut();
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    if let ApiError::MethodNotAllowed(methods) = refused
        && let Ok(methods) = HeaderValue::try_from(methods)
    {
        headers.insert(ALLOW, methods);
    }
    if let ApiError::RateLimited(exceeded) = refused {
        limit_fields(&mut reply, exceeded.quota, 0, exceeded.wait);
        let wait = whole_seconds(exceeded.wait);
        reply.headers_mut().insert(RETRY_AFTER, wait.into());
    }
    reply
}

/// Tells a caller what is left, unless the answer tells of a narrower budget already.
pub(super) fn tell_budget(reply: &mut Reply, left: &Standing) {
    if !reply.headers().contains_key(LIMIT) {
        limit_fields(reply, left.quota, left.remaining, left.reset);
    }
}

/// Tells a caller of a budget: its size, what is left, and in how many seconds there is more.
fn limit_fields(reply: &mut Reply, quota: Quota, remaining: u32, reset: Duration) {
    let policy = format!("{};w={}", quota.most, quota.per.as_secs());
    let policy = HeaderValue::from_str(&policy).expect("two numbers are plain text");
    let headers = reply.headers_mut();
    headers.insert(LIMIT, quota.most.into());
    headers.insert(REMAINING, remaining.into());
    headers.insert(RESET, whole_seconds(reset).into());
    headers.insert(POLICY, policy);
}

/// Rounded up: who waits that long is not refused again.
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

/// What every answer carries.
pub(super) fn finish(mut reply: Reply, request_id: Uuid) -> Reply {
    let id = HeaderValue::from_str(&request_id.to_string()).expect("a UUID is plain text");
    let headers = reply.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Logs the cause of a fault of the server, once, with everything behind it.
pub(super) fn log(refused: &ApiError, request_id: Uuid) {
    let (ApiError::Internal(cause)
    | ApiError::Unavailable(cause)
    | ApiError::ProviderFailed(cause)) = refused
    else {
        return;
    };
    let mut causes = cause.to_string();
    let mut deeper = cause.source();
    while let Some(next) = deeper {
        causes.push_str(": ");
        causes.push_str(&next.to_string());
        deeper = next.source();
    }
    error!(request = %request_id, code = refused.code(), cause = causes, "a request failed");
}

pub(super) fn with_body(status: StatusCode, kind: &'static str, bytes: Vec<u8>) -> Reply {
    let mut reply = Response::new(Either::Left(Full::new(Bytes::from(bytes))));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
