//! Which pages may read answers (CORS), and under which names the server answers at all.

use std::net::IpAddr;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderName, HeaderValue, ORIGIN, VARY,
};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};

use super::reply::{self, Reply};
use crate::config::{AllowedHosts, Config, Transport};
use crate::error::ApiError;

/// Refuses a request for a name that is not ours: a page of that name, pointed at this machine,
/// would otherwise speak as one of ours (DNS rebinding).
pub(super) fn host_is_ours(
    config: &Config,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let authority = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => text(headers.get(HOST)).unwrap_or_default(),
    };
    let host = bare_host(authority).to_ascii_lowercase();
    let ours = match &config.web.allowed_hosts {
        AllowedHosts::Listed(names) => names.contains(&host),
        // A certificate is for our names only, so with TLS a wrong name does not get here.
        AllowedHosts::Unset => config.transport == Transport::Tls || host == "localhost",
    };
    if ours || host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(ApiError::UnknownHost)
}

/// The origin of the page that asks, when it may read answers.
pub(super) fn admitted(config: &Config, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    let named = text(Some(origin))?;
    let rules = &config.web.allowed_origins;
    rules
        .iter()
        .any(|rule| rule.admits(named))
        .then(|| origin.clone())
}

/// Whether a browser asks if a page may send a request.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a browser is told about a page's next request; without our consent it is not sent.
pub(super) fn preflight() -> Reply {
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(METHODS),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(FIELDS),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    reply
}

/// Lets the page read this answer.
pub(super) fn allow(reply: &mut Reply, origin: Option<HeaderValue>) {
    let headers = reply.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else {
        for consent in CONSENT {
            headers.remove(consent);
        }
        return;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(READABLE),
    );
}

fn bare_host(authority: &str) -> &str {
    if let Some((address, _)) = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return address;
    }
    authority
        .split_once(':')
        .map_or(authority, |(host, _)| host)
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}

const CONSENT: [HeaderName; 3] = [
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
const FIELDS: &str = "Authorization, Content-Type, X-CSRF-Token";
const READABLE: &str =
    "X-Request-Id, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset";

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, Uri};

    use super::host_is_ours;
    use crate::config::{Config, Sources};

    fn is_ours(settings: &[(&'static str, &str)], host: &str) -> bool {
        let config = Config::parse(&Sources::from_pairs(settings.iter().copied())).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        host_is_ours(&config, &Uri::from_static("/keys"), &headers).is_ok()
    }

    #[test]
    fn without_tls_only_this_machine_is_named() {
        let plain = [("KEYFERRY_PLAIN_HTTP", "true")];
        for ours in ["localhost", "LOCALHOST:8443", "127.0.0.1:80", "[::1]:8443"] {
            assert!(is_ours(&plain, ours), "{ours}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example:8443",
            "a:b",
            "127.0.0.1.evil",
        ] {
            assert!(!is_ours(&plain, foreign), "{foreign}");
        }
    }

    #[test]
    fn with_a_list_only_what_is_listed_is_ours() {
        let listed = [("KEYFERRY_PUBLIC_URL", "https://keys.example.org:8443")];
        assert!(is_ours(&listed, "keys.example.org"));
        assert!(is_ours(&listed, "192.0.2.1:8443"));
        assert!(!is_ours(&listed, "evil.example"));
        assert!(is_ours(&[], "whatever.example"), "the certificate decides");
    }
}
