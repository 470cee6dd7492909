//! Takes a browser back from a provider.

use std::time::Duration;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request};
use secrecy::ExposeSecret;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::discovery::{ClientProof, Known};
use super::id_token::{self, Claims, Expected, IdTokenError, PersonClaims};
use super::{Provider, ProviderName, derived, escaped, form, link, url};
use crate::app::App;
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::opaque::{OpaqueToken, Purpose};
use crate::sessions::{Brought, Origin, SignInOutcome, admit};
use crate::store::{ReturnedSignIn, StoredUser};

/// What the browser brings back.
#[derive(Default)]
pub(crate) struct Return {
    pub(crate) code: Option<String>,
    pub(crate) state: Option<String>,
    /// RFC 9207.
    pub(crate) issuer: Option<String>,
    pub(crate) error: Option<String>,
}

/// Where a sign-in leads.
pub(crate) enum Arrival {
    /// A page is signed in, or owes a second factor.
    Page(Box<SignInOutcome>),
    /// A program fetches its session with a code, or is told why there is none.
    Program(u16, Result<Zeroizing<String>, ApiError>),
}

/// The answer of the token endpoint.
#[derive(Deserialize)]
struct Tokens {
    id_token: Secret,
    access_token: Option<Secret>,
}

/// The answer of the userinfo endpoint.
#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    #[serde(flatten)]
    person: PersonClaims,
}

/// Ends a sign-in that [`super::depart`] began in the same browser.
pub(crate) async fn come_back(
    app: &App,
    origin: &Origin,
    name: &ProviderName,
    (returned, cookie): (Return, Option<&str>),
) -> Result<Arrival, ApiError> {
    let provider = app.providers.named(name)?;
    let secret = cookie.and_then(|text| OpaqueToken::parse(Purpose::ProviderSignIn, text));
    let secret = secret.ok_or(ApiError::InvalidSignIn)?;
    let state = returned.state.as_deref().unwrap_or_default().as_bytes();
    if !bool::from(state.ct_eq(derived(&secret, "state").as_bytes())) {
        return Err(ApiError::InvalidSignIn);
    }
    let (name, now) = (&provider.settings.name, app.clock.now());
    let hash = secret.hash();
    let taken = app.store.take_provider_sign_in(&hash, name, now);
    let taken = taken.await?.ok_or(ApiError::InvalidSignIn)?;
    let user = identify(app, origin, provider, (&returned, &secret)).await;
    match taken.port() {
        Some(port) => Ok(Arrival::Program(port, hand_over(app, &taken, user).await)),
        None => {
            let outcome = admit(app, origin, user?, Brought::default()).await?;
            Ok(Arrival::Page(Box::new(outcome)))
        }
    }
}

/// A code for the program, worth a session for a minute.
async fn hand_over(
    app: &App,
    taken: &ReturnedSignIn,
    user: Result<StoredUser, ApiError>,
) -> Result<Zeroizing<String>, ApiError> {
    let user = user?;
    let code = OpaqueToken::random(&mut app.rng());
    let until = app.clock.now() + CODE_LIFE;
    let whose = (user.id, &code.hash());
    let mut change = app.store.begin().await?;
    let password_of = user.password_changed_at;
    if !change.hold_login(user.id, password_of).await? {
        return Err(ApiError::InvalidCredentials);
    }
    change.keep_provider_code(taken.id, whose, until).await?;
    change.commit().await?;
    Ok(code.text(Purpose::ProviderCode))
}

async fn identify(
    app: &App,
    origin: &Origin,
    provider: &Provider,
    (returned, secret): (&Return, &OpaqueToken),
) -> Result<StoredUser, ApiError> {
    let known = provider.known(app.clock.now()).await?;
    // An answer that another provider made is not taken to this one (RFC 9207 §2.4).
    let named = returned.issuer.as_deref();
    let must_be_named = known
        .metadata
        .authorization_response_iss_parameter_supported;
    if named.map_or(must_be_named, |issuer| issuer != provider.settings.issuer) {
        return Err(ApiError::InvalidSignIn);
    }
    let code = match (&returned.error, &returned.code) {
        (None, Some(code)) => code,
        (Some(_), _) => return Err(ApiError::ProviderRefused),
        (None, None) => return Err(ApiError::InvalidSignIn),
    };
    let tokens = trade(app, provider, &known, (code, secret)).await?;
    let claims = checked(app, provider, &known, (&tokens, secret)).await?;
    let person = person(provider, &known, (&claims, &tokens)).await?;
    let who = link::Somebody {
        provider: &provider.settings,
        subject: &claims.sub,
        person,
    };
    link::account(app, origin, who).await
}

/// Trades the code for tokens, over a connection of our own.
async fn trade(
    app: &App,
    provider: &Provider,
    known: &Known,
    (code, secret): (&str, &OpaqueToken),
) -> Result<Tokens, ApiError> {
    let settings = &provider.settings;
    let (redirect, verifier) = (provider.redirect_uri(app), derived(secret, "verifier"));
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &redirect),
        ("code_verifier", &verifier),
    ];
    let mut request = Request::builder()
        .method(Method::POST)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    match (&settings.client_secret, known.metadata.client_proof()) {
        (Some(proof), ClientProof::Basic) => {
            // RFC 6749 §2.3.1: both are form-encoded first.
            let (id, proof) = (escaped(&settings.client_id), escaped(proof.expose_secret()));
            let both = Zeroizing::new(format!("{id}:{proof}"));
            let basic = format!("Basic {}", Base64::encode_string(both.as_bytes()));
            request = request.header(AUTHORIZATION, basic);
        }
        (Some(proof), ClientProof::Post) => fields.extend([
            ("client_id", settings.client_id.as_str()),
            ("client_secret", proof.expose_secret()),
        ]),
        (None, _) => fields.push(("client_id", &settings.client_id)),
    }
    let at = url(&known.metadata.token_endpoint)?;
    let body = Bytes::from(form(&fields));
    provider.ask(&at, request, body).await
}

/// The claims of the ID token; a key that is new to us is fetched first.
async fn checked(
    app: &App,
    provider: &Provider,
    known: &Known,
    (tokens, secret): (&Tokens, &OpaqueToken),
) -> Result<Claims, ApiError> {
    let nonce = derived(secret, "nonce");
    let expected = Expected {
        issuer: &provider.settings.issuer,
        client_id: &provider.settings.client_id,
        algorithms: &provider.settings.algorithms,
        nonce: &nonce,
        now: app.clock.now(),
    };
    let token = tokens.id_token.expose();
    let claims = match id_token::check(token, &expected, &known.keys) {
        Err(IdTokenError::UnknownKey) => {
            let known = provider.known_again(expected.now).await?;
            id_token::check(token, &expected, &known.keys)
        }
        checked => checked,
    };
    claims.map_err(Provider::fails)
}

/// What the provider tells about the person: in the token, else at its userinfo endpoint.
async fn person(
    provider: &Provider,
    known: &Known,
    (claims, tokens): (&Claims, &Tokens),
) -> Result<PersonClaims, ApiError> {
    let endpoint = known.metadata.userinfo_endpoint.as_deref();
    let told = &claims.person;
    let (None, Some(endpoint), Some(token)) = (&told.email, endpoint, &tokens.access_token) else {
        return Ok(told.clone());
    };
    let bearer = Zeroizing::new(format!("Bearer {}", token.expose()));
    let request = Request::builder().header(AUTHORIZATION, bearer.as_str());
    let info: UserInfo = provider.ask(&url(endpoint)?, request, Bytes::new()).await?;
    // OpenID Connect Core §5.3.2: an answer about somebody else is not used.
    if info.sub != claims.sub {
        return Err(Provider::fails(IdTokenError::SomebodyElse));
    }
    Ok(info.person)
}

const CODE_LIFE: Duration = Duration::from_secs(60);
