//! Somebody who speaks REST over one line and looks at the clock: for measurements.

use std::time::{Duration, Instant};

use base64ct::{Base64UrlUnpadded, Encoding};
use getrandom::SysRng;
use hyper::Method;
use keyferry_cli::rest::{Ask, Line, Rest};
use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::memory::{Arena, self_test};
use keyferry_protocol::sealed::{put_info, seal};
use rand_core::UnwrapErr;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::Secret;

/// Signed in.
pub struct Caller {
    line: Line,
    arena: Arena,
    server_key: PublicKey,
    user_id: [u8; 16],
    token: SecretString,
}

impl Caller {
    /// Signs in.
    pub async fn sign_in(rest: Rest, (user, password): (&str, &str)) -> Self {
        let mut line = rest.open().await.unwrap();
        let body = json!({ "username": user, "password": password }).to_string();
        let login = Ask::new(Method::POST, "/auth/login").json(body.into());
        let session = line.exchange(login).await.unwrap().success().unwrap();
        let published = Ask::new(Method::GET, "/.well-known/keyferry");
        let published = line.exchange(published).await.unwrap().body;
        let mut server_key = [0; 32];
        Base64UrlUnpadded::decode(text(&published, "hpke_key"), &mut server_key).unwrap();
        let digits = text(&session, "user_id").replace('-', "");
        Self {
            line,
            arena: Arena::new(self_test().unwrap()).unwrap(),
            server_key: PublicKey(server_key),
            user_id: u128::from_str_radix(&digits, 16).unwrap().to_be_bytes(),
            token: text(&session, "access_token").into(),
        }
    }

    /// Sends one request that must succeed: when it was sent, and how long its answer took. The
    /// server closes the connection after a password or a key; connecting again is not counted.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (Instant, Duration) {
        let mut ask = Ask::new(method, path).signed_in(&self.token);
        if let Some(body) = body {
            ask = ask.json(body.to_string().into());
        }
        self.line.ready().await.unwrap();
        let begin = Instant::now();
        let answer = self.line.exchange(ask).await.unwrap();
        answer.success().unwrap();
        (begin, begin.elapsed())
    }

    /// What stores a fresh key that tools may read.
    pub fn new_key(&self, name: &str) -> Value {
        json!({
            "provider": "custom", "policy": { "delivery": "raw" },
            "sealed": self.sealed(name, 1), "version": 1,
        })
    }

    /// What rotates a key to a fresh value.
    pub fn next_version(&self, name: &str, version: u32) -> Value {
        json!({ "sealed": self.sealed(name, version), "version": version })
    }

    fn sealed(&self, name: &str, version: u32) -> String {
        let info = put_info(self.user_id, &name.parse().unwrap(), version);
        let value = self.arena.hold(Secret::fresh().text().as_bytes()).unwrap();
        let rng = &mut UnwrapErr(SysRng);
        let sealed = seal(&self.arena, rng, self.server_key, &info, &value).unwrap();
        Base64UrlUnpadded::encode_string(&sealed)
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}
