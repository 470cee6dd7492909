//! Browsers on their way to a provider and back.

use base64ct::{Base64UrlUnpadded, Encoding};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION, SET_COOKIE};

use super::cookies::{self, Jar};
use super::describe::Made;
use super::reply::{self, Reply};
use super::table::Call;
use crate::accounts::providers::{self, Arrival, ProviderName, Return, Waiting};
use crate::error::ApiError;
use crate::limits;
use crate::sessions::SignInOutcome;

/// Sends the browser to the provider, with a secret in its cookie.
pub(super) async fn start(call: &Call<'_>, provider: ProviderName) -> Result<Made<()>, ApiError> {
    let app = &call.connection.app;
    let program = waiting(call)?;
    let departure = providers::depart(app, call.origin, &provider, program).await?;
    let mut reply = redirect(&departure.location)?;
    let jar = Jar::new(&app.config.cookies);
    let life = providers::LIFE.as_secs();
    let cookie = jar.provider_cookie(&departure.secret, life);
    reply.headers_mut().append(SET_COOKIE, cookie);
    Ok(reply.into())
}

/// Takes the browser back, and on to where the sign-in began.
pub(super) async fn callback(
    call: &Call<'_>,
    provider: ProviderName,
) -> Result<Made<()>, ApiError> {
    let app = &call.connection.app;
    let jar = Jar::new(&app.config.cookies);
    let mut returned = Return::default();
    for (name, value) in call.head.query_members() {
        match name.as_str() {
            "code" => returned.code = Some(value),
            "state" => returned.state = Some(value),
            "iss" => returned.issuer = Some(value),
            "error" => returned.error = Some(value),
            _ => {}
        }
    }
    let brought = (returned, jar.provider(call.head));
    let arrival = providers::come_back(app, call.origin, &provider, brought).await?;
    let mut reply = match arrival {
        Arrival::Page(outcome) => page(call, *outcome)?,
        Arrival::Program(port, outcome) => {
            let told = match limits::proof(app, call.origin, outcome).await {
                Ok(code) => format!("code={}", *code),
                Err(refused) => {
                    reply::log(&refused, call.origin.request_id);
                    format!("error={}", refused.code())
                }
            };
            redirect(&format!("http://127.0.0.1:{port}/?{told}"))?
        }
    };
    let gone = jar.provider_cookie("", 0);
    reply.headers_mut().append(SET_COOKIE, gone);
    Ok(reply.into())
}

/// To the start page, signed in by cookies; or with what is needed for the second step behind the
/// `#`, which no server sees.
fn page(call: &Call<'_>, outcome: SignInOutcome) -> Result<Reply, ApiError> {
    match outcome {
        SignInOutcome::Complete(answer) => {
            let mut reply = cookies::keep(call, *answer, None)?;
            *reply.status_mut() = StatusCode::SEE_OTHER;
            *reply.body_mut() = reply::empty(StatusCode::SEE_OTHER).into_body();
            let headers = reply.headers_mut();
            headers.remove(CONTENT_TYPE);
            headers.insert(LOCATION, HeaderValue::from_static("/"));
            Ok(reply)
        }
        SignInOutcome::MfaRequired(owed) => {
            redirect(&format!("/#mfa_token={}", *owed.into_token()))
        }
    }
}

/// The program that waits, as `?port=...&challenge=...` names it.
fn waiting(call: &Call<'_>) -> Result<Option<Waiting>, ApiError> {
    let (mut port, mut challenge) = (None, None);
    for (name, value) in call.head.query_members() {
        match name.as_str() {
            "port" => port = Some(value),
            "challenge" => challenge = Some(value),
            _ => return Err(ApiError::invalid(&name, "is not known here")),
        }
    }
    let (port, challenge) = match (port, challenge) {
        (None, None) => return Ok(None),
        (Some(port), Some(challenge)) => (port, challenge),
        _ => return Err(ApiError::invalid("port", "goes together with challenge")),
    };
    let port = port.parse().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| ApiError::invalid("port", "is 1 to 65535"))?;
    let mut hash = [0; 32];
    let whole = Base64UrlUnpadded::decode(challenge.as_bytes(), &mut hash);
    if !whole.is_ok_and(|bytes| bytes.len() == 32) {
        return Err(ApiError::invalid(
            "challenge",
            "is the base64url of a SHA-256",
        ));
    }
    Ok(Some(Waiting {
        port,
        challenge: hash,
    }))
}

fn redirect(location: &str) -> Result<Reply, ApiError> {
    let mut reply = reply::empty(StatusCode::SEE_OTHER);
    let location = HeaderValue::try_from(location).map_err(ApiError::internal)?;
    reply.headers_mut().insert(LOCATION, location);
    Ok(reply)
}
