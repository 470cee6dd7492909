//! A provider on this machine whose word is whatever a test says.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use josekit::jwk::Jwk;
use josekit::jws::{JwsSigner, RS256};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::config::{Config, IdTokenAlgorithm, ProviderSettings, SignUp};
use crate::testing::{self, Server};

pub(super) const CLIENT: &str = "keyferry";

/// A provider on this machine. What its token endpoint gives is whatever the test says.
pub(super) struct Provider {
    pub(super) issuer: String,
    pub(super) key: Jwk,
    token: Arc<Mutex<String>>,
    /// How often it was asked; while it is away it hangs up.
    pub(super) asked: Arc<AtomicU32>,
    pub(super) away: Arc<AtomicBool>,
}

impl Provider {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let mut key = Jwk::generate_rsa_key(2048).unwrap();
        key.set_key_id("one");
        let token = Arc::<Mutex<String>>::default();
        let answers = answers(&issuer, &key, Arc::clone(&token));
        let (asked, away) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let (count, is_away) = (Arc::clone(&asked), Arc::clone(&away));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                if is_away.load(Ordering::Relaxed) {
                    continue;
                }
                let answers = answers.clone();
                let service = service_fn(move |request: hyper::Request<_>| {
                    let answer = answers(request.uri().path());
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            issuer,
            key,
            token,
            asked,
            away,
        }
    }

    pub(super) fn settings(&self) -> ProviderSettings {
        ProviderSettings {
            name: "corp".to_owned(),
            display_name: "Corp".to_owned(),
            issuer: self.issuer.clone(),
            client_id: CLIENT.to_owned(),
            client_secret: Some("a secret".into()),
            scope: "openid email".to_owned(),
            algorithms: vec![IdTokenAlgorithm::Rs256],
            sign_up: SignUp::Allowed,
            ca_file: None,
        }
    }

    pub(super) async fn server(&self) -> Server {
        let mut config = Config::for_tests();
        config.providers = vec![self.settings()];
        testing::server_with(config).await
    }

    /// What an honest provider says of Ada.
    pub(super) fn claims(&self, server: &Server, nonce: &str) -> Value {
        let now = server.app.clock.now().seconds();
        json!({
            "iss": self.issuer, "aud": CLIENT, "sub": "ada-1", "nonce": nonce,
            "iat": now, "exp": now + 300, "email": "ada@example.org", "email_verified": true,
        })
    }

    pub(super) fn signed(&self, claims: &Value) -> String {
        let signer = RS256.signer_from_jwk(&self.key).unwrap();
        token(
            &json!({ "alg": "RS256", "kid": "one" }),
            claims,
            |message| signer.sign(message).unwrap(),
        )
    }

    pub(super) fn gives(&self, token: String) {
        *self.token.lock().unwrap() = token;
    }
}

fn answers(
    issuer: &str,
    key: &Jwk,
    token: Arc<Mutex<String>>,
) -> impl Fn(&str) -> Response<Full<Bytes>> + Clone + Send + 'static {
    let at = |path: &str| format!("{issuer}{path}");
    let metadata = json!({
        "issuer": issuer, "jwks_uri": at("/keys"), "token_endpoint": at("/token"),
        "authorization_endpoint": at("/authorize"),
    });
    let mut public = key.to_public_key().unwrap();
    public.set_key_use("sig");
    public.set_key_id("one");
    let keys = json!({ "keys": [public.as_ref()] });
    move |path| {
        let body = match path {
            "/.well-known/openid-configuration" => metadata.to_string(),
            "/keys" => keys.to_string(),
            _ => {
                let token = token.lock().unwrap().clone();
                json!({ "access_token": "x", "token_type": "Bearer", "id_token": token })
                    .to_string()
            }
        };
        Response::new(Full::new(Bytes::from(body)))
    }
}

pub(super) fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = Base64UrlUnpadded::encode_string(&sign(message.as_bytes()));
    format!("{message}.{signature}")
}
