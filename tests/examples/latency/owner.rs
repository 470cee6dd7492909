//! The owner of the keys, who changes them over REST as the CLI does.

use std::io::Read;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use getrandom::SysRng;
use hyper::Method;
use keyferry_cli::rest::{Ask, Line, Rest};
use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::memory::{Arena, self_test};
use keyferry_protocol::sealed::{put_info, seal};
use keyferry_sdk::tls::ServerTrust;
use keyferry_tests::Secret;
use rand_core::UnwrapErr;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::log::monotonic;

/// Signed in.
pub(crate) struct Owner {
    runtime: Runtime,
    line: Line,
    arena: Arena,
    server_key: PublicKey,
    user_id: [u8; 16],
    token: SecretString,
}

impl Owner {
    /// The password comes from standard input.
    pub(crate) fn sign_in((server, pin): (&str, &str), user: &str) -> Self {
        let mut password = String::new();
        std::io::stdin().read_to_string(&mut password).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let trust = ServerTrust::Pinned(pin.parse().unwrap());
        let rest = Rest::new(server.parse().unwrap(), trust);
        let mut line = runtime.block_on(rest.open()).unwrap();
        let body = json!({ "username": user, "password": password.trim_end() }).to_string();
        let login = Ask::new(Method::POST, "/auth/login").json(body.into());
        let session = runtime.block_on(line.exchange(login)).unwrap();
        let session = session.success().unwrap();
        let published = Ask::new(Method::GET, "/.well-known/keyferry");
        let published = runtime.block_on(line.exchange(published)).unwrap().body;
        let mut server_key = [0; 32];
        Base64UrlUnpadded::decode(text(&published, "hpke_key"), &mut server_key).unwrap();
        let digits = text(&session, "user_id").replace('-', "");
        Self {
            runtime,
            line,
            arena: Arena::new(self_test().unwrap()).unwrap(),
            server_key: PublicKey(server_key),
            user_id: u128::from_str_radix(&digits, 16).unwrap().to_be_bytes(),
            token: text(&session, "access_token").into(),
        }
    }

    /// Stores a key that tools may read.
    pub(crate) fn put(&mut self, key: &str) {
        let body = json!({
            "provider": "custom", "policy": { "delivery": "raw" },
            "sealed": self.sealed(key, 1), "version": 1,
        });
        self.send(Method::PUT, &format!("/keys/{key}"), Some(&body));
    }

    /// Rotates to a fresh value, and tells when it was sent.
    pub(crate) fn rotate(&mut self, key: &str, version: u32) -> Duration {
        let body = json!({ "sealed": self.sealed(key, version), "version": version });
        self.send(Method::POST, &format!("/keys/{key}/rotate"), Some(&body))
    }

    /// Revokes a key, and tells when it was sent.
    pub(crate) fn revoke(&mut self, key: &str) -> Duration {
        self.send(Method::POST, &format!("/keys/{key}/revoke"), None)
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.send(Method::DELETE, &format!("/keys/{key}"), None);
    }

    fn sealed(&self, key: &str, version: u32) -> String {
        let info = put_info(self.user_id, &key.parse().unwrap(), version);
        let value = self.arena.hold(Secret::fresh().text().as_bytes()).unwrap();
        let rng = &mut UnwrapErr(SysRng);
        let sealed = seal(&self.arena, rng, self.server_key, &info, &value).unwrap();
        Base64UrlUnpadded::encode_string(&sealed)
    }

    /// The server closes a connection after a value; connecting again is not part of the time.
    fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Duration {
        let mut ask = Ask::new(method, path).signed_in(&self.token);
        if let Some(body) = body {
            ask = ask.json(body.to_string().into());
        }
        self.runtime.block_on(async {
            self.line.ready().await.unwrap();
            let begin = monotonic();
            let answer = self.line.exchange(ask).await.unwrap();
            answer.success().unwrap();
            begin
        })
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap()
}
