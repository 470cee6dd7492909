//! Sessions in a browser's cookies, for pages that shall not hold tokens themselves.
//!
//! A cookie comes along whichever page asks, so a request that changes anything must also carry
//! `X-CSRF-Token`, which only a page that has read it from us can know.

use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding};
use hyper::header::{COOKIE, HeaderName, HeaderValue, SET_COOKIE};
use hyper::{HeaderMap, StatusCode};
use zeroize::Zeroizing;

use super::describe::Made;
use super::reply::{self, Reply};
use super::request::Head;
use super::table::Call;
use crate::accounts::providers::{self, ProviderCode};
use crate::config::CookieSettings;
use crate::error::ApiError;
use crate::sessions::{
    self, Credentials, RefreshRequest, SecondFactor, SignInAnswer, SignInOutcome, SignedIn,
};

/// Login; by choice the tokens go into cookies instead of the answer.
pub(super) async fn sign_in(
    call: &Call<'_>,
    claim: Credentials,
) -> Result<Made<SignInOutcome>, ApiError> {
    let app = &call.connection.app;
    let wants_cookies = claim.wants_cookies();
    match sessions::sign_in(app, call.origin, claim).await? {
        SignInOutcome::Complete(answer) if wants_cookies => Ok(keep(call, *answer, None)?.into()),
        outcome => Made::json(StatusCode::OK, &outcome),
    }
}

/// The second step of a login, likewise.
pub(super) async fn verify_mfa(
    call: &Call<'_>,
    factor: SecondFactor,
) -> Result<Made<SignInAnswer>, ApiError> {
    let wants_cookies = factor.wants_cookies();
    let answer = sessions::verify_mfa(&call.connection.app, call.origin, factor).await?;
    if wants_cookies {
        return Ok(keep(call, answer, None)?.into());
    }
    Made::json(StatusCode::OK, &answer)
}

/// The session of a sign-in at a provider, for the program that began it.
pub(super) async fn redeem(
    call: &Call<'_>,
    code: ProviderCode,
) -> Result<Made<SignInOutcome>, ApiError> {
    let outcome = providers::redeem(&call.connection.app, call.origin, code).await?;
    Made::json(StatusCode::OK, &outcome)
}

/// Refresh; without a token in the body, by the one in the cookie.
pub(super) async fn refresh(
    call: &Call<'_>,
    request: RefreshRequest,
) -> Result<Made<SignInAnswer>, ApiError> {
    let app = &call.connection.app;
    if request.has_token() {
        let answer = sessions::refresh(app, call.origin, request).await?;
        return Made::json(StatusCode::OK, &answer);
    }
    let jar = Jar::new(&app.config.cookies);
    let session = jar
        .session(call.head)
        .ok_or(ApiError::InvalidRefreshToken)?;
    let token = jar
        .refresh(call.head)
        .ok_or(ApiError::InvalidRefreshToken)?;
    must_be_our_page(call.head, session)?;
    let request = RefreshRequest::of(token);
    let answer = sessions::refresh(app, call.origin, request).await?;
    Ok(keep(call, answer, Some(session))?.into())
}

/// Logout; cookies of the session are taken back.
pub(super) async fn sign_out(call: &Call<'_>, caller: &SignedIn) -> Result<Made<()>, ApiError> {
    let app = &call.connection.app;
    sessions::sign_out(app, caller).await?;
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    take_back(call, &mut reply);
    Ok(reply.into())
}

/// Logout everywhere, likewise.
pub(super) async fn sign_out_everywhere(
    call: &Call<'_>,
    caller: &SignedIn,
) -> Result<Made<()>, ApiError> {
    let app = &call.connection.app;
    sessions::sign_out_everywhere(app, caller).await?;
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    take_back(call, &mut reply);
    Ok(reply.into())
}

/// The session token of a request that carries none in `Authorization`.
pub(super) fn session_token<'a>(
    settings: &CookieSettings,
    head: &'a Head,
) -> Result<Option<&'a str>, ApiError> {
    let Some(session) = Jar::new(settings).session(head) else {
        return Ok(None);
    };
    if !head.changes_nothing() {
        must_be_our_page(head, session)?;
    }
    Ok(Some(session))
}

/// Moves the answer's tokens into cookies; `session` is the one that the browser has already.
pub(super) fn keep(
    call: &Call<'_>,
    mut answer: SignInAnswer,
    session: Option<&str>,
) -> Result<Reply, ApiError> {
    let app = &call.connection.app;
    let jar = Jar::new(&app.config.cookies);
    let cookies = answer.tokens().hand_to_browser(session, csrf_token);
    let cookies = cookies.ok_or(ApiError::InvalidRefreshToken)?;
    let life = app.config.tokens.refresh_life.as_secs();
    let cookies = [
        jar.cookie(
            &jar.session_name(),
            &cookies.session,
            &format!("/; Max-Age={life}; HttpOnly"),
        ),
        jar.cookie(
            &jar.refresh_name(),
            &cookies.refresh,
            &format!("{}; Max-Age={life}; HttpOnly", refresh_path(call.head)),
        ),
        jar.cookie(
            &jar.csrf_name(),
            &cookies.csrf,
            &format!("/; Max-Age={life}"),
        ),
    ];
    let mut reply = reply::json(StatusCode::OK, &answer)?;
    for cookie in cookies {
        reply.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(reply)
}

fn take_back(call: &Call<'_>, reply: &mut Reply) {
    let jar = Jar::new(&call.connection.app.config.cookies);
    if jar.session(call.head).is_none() {
        return;
    }
    let gone = [
        jar.cookie(&jar.session_name(), "", "/; Max-Age=0; HttpOnly"),
        jar.cookie(
            &jar.refresh_name(),
            "",
            &format!("{}; Max-Age=0; HttpOnly", refresh_path(call.head)),
        ),
        jar.cookie(&jar.csrf_name(), "", "/; Max-Age=0"),
    ];
    for cookie in gone {
        reply.headers_mut().append(SET_COOKIE, cookie);
    }
}

fn must_be_our_page(head: &Head, session: &str) -> Result<(), ApiError> {
    let shown = head.headers.get(CSRF).and_then(|value| value.to_str().ok());
    let tag = shown.and_then(|text| Base64UrlUnpadded::decode_vec(text).ok());
    let tag = tag.ok_or(ApiError::ForeignPage)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, session.as_bytes());
    hmac::verify(&key, CSRF_LABEL, &tag).map_err(|_| ApiError::ForeignPage)
}

/// `HMAC-SHA256(key = session token, "keyferry csrf")`: follows from the session, which no other
/// page can read, and tells nothing about it.
fn csrf_token(session: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, session.as_bytes());
    Base64UrlUnpadded::encode_string(hmac::sign(&key, CSRF_LABEL).as_ref())
}

/// Where the refresh token goes, under the prefix that this client uses.
fn refresh_path(head: &Head) -> String {
    format!("{}/auth/refresh", head.prefix())
}

/// The names and marks of our cookies.
pub(super) struct Jar<'a>(&'a CookieSettings);

impl<'a> Jar<'a> {
    pub(super) const fn new(settings: &'a CookieSettings) -> Self {
        Self(settings)
    }

    /// Browsers take `__Host-` only from this host, over TLS and for all its paths.
    fn session_name(&self) -> String {
        self.named("__Host-", "")
    }

    fn csrf_name(&self) -> String {
        self.named("__Host-", "_csrf")
    }

    fn refresh_name(&self) -> String {
        self.named("__Secure-", "_refresh")
    }

    fn named(&self, prefix: &str, suffix: &str) -> String {
        let prefix = if self.0.secure { prefix } else { "" };
        format!("{prefix}{}{suffix}", self.0.name)
    }

    fn session<'h>(&self, head: &'h Head) -> Option<&'h str> {
        read(&head.headers, &self.session_name())
    }

    fn refresh<'h>(&self, head: &'h Head) -> Option<&'h str> {
        read(&head.headers, &self.refresh_name())
    }

    /// What binds a sign-in at a provider to the browser in which it began.
    pub(super) fn provider<'h>(&self, head: &'h Head) -> Option<&'h str> {
        read(&head.headers, &self.provider_name())
    }

    /// It comes along when the provider sends the browser back, which `Strict` would forbid.
    pub(super) fn provider_cookie(&self, secret: &str, seconds: u64) -> HeaderValue {
        let marks = format!("/; Max-Age={seconds}; HttpOnly");
        self.marked((&self.provider_name(), secret), &marks, "Lax")
    }

    fn provider_name(&self) -> String {
        self.named("__Host-", "_provider")
    }

    fn cookie(&self, name: &str, value: &str, path_and_more: &str) -> HeaderValue {
        self.marked((name, value), path_and_more, self.0.same_site)
    }

    fn marked(
        &self,
        (name, value): (&str, &str),
        path_and_more: &str,
        same_site: &str,
    ) -> HeaderValue {
        let secure = if self.0.secure { "; Secure" } else { "" };
        let text = Zeroizing::new(format!(
            "{name}={value}; Path={path_and_more}; SameSite={same_site}{secure}"
        ));
        let mut value =
            HeaderValue::try_from(text.as_str()).expect("names, tokens and paths are plain text");
        value.set_sensitive(true);
        value
    }
}

/// The cookie of this name; two of them are none, since one was planted.
fn read<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter();
    let mut found = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(given, value)| *given == name && !value.is_empty())
        .map(|(_, value)| value);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");
const CSRF_LABEL: &[u8] = b"keyferry csrf";

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::read;

    #[test]
    fn a_planted_second_cookie_spoils_both() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=1; s=kfs_x; b=2".parse().unwrap());
        assert_eq!(read(&headers, "s"), Some("kfs_x"));
        assert_eq!(read(&headers, "x"), None);
        headers.append("cookie", "s=kfs_y".parse().unwrap());
        assert_eq!(read(&headers, "s"), None);
    }
}
