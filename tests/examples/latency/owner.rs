//! The owner of the keys, who changes them over REST as the CLI does.

use std::io::Read;
use std::time::Instant;

use hyper::Method;
use keyferry_cli::rest::Rest;
use keyferry_sdk::tls::ServerTrust;
use keyferry_tests::Caller;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// Signed in.
pub(crate) struct Owner {
    runtime: Runtime,
    caller: Caller,
}

impl Owner {
    /// The password comes from standard input.
    pub(crate) fn sign_in((server, pin): (&str, &str), user: &str) -> Self {
        let mut password = String::new();
        std::io::stdin().read_to_string(&mut password).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let trust = ServerTrust::Pinned(pin.parse().unwrap());
        let rest = Rest::new(server.parse().unwrap(), trust);
        let caller = runtime.block_on(Caller::sign_in(rest, (user, password.trim_end())));
        Self { runtime, caller }
    }

    /// Stores a key that tools may read.
    pub(crate) fn put(&mut self, key: &str) {
        let body = self.caller.new_key(key);
        self.send(Method::PUT, &format!("/keys/{key}"), Some(&body));
    }

    /// Rotates to a fresh value, and tells when it was sent.
    pub(crate) fn rotate(&mut self, key: &str, version: u32) -> Instant {
        let body = self.caller.next_version(key, version);
        self.send(Method::POST, &format!("/keys/{key}/rotate"), Some(&body))
    }

    /// Revokes a key, and tells when it was sent.
    pub(crate) fn revoke(&mut self, key: &str) -> Instant {
        self.send(Method::POST, &format!("/keys/{key}/revoke"), None)
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.send(Method::DELETE, &format!("/keys/{key}"), None);
    }

    fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Instant {
        self.runtime
            .block_on(self.caller.send(method, path, body))
            .0
    }
}
