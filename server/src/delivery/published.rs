//! The server's public keys, for agents and for whoever seals a value.

use base64ct::{Base64UrlUnpadded, Encoding};
use keyferry_protocol::agreement::PublicKey;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;

/// The key members of `/.well-known/keyferry`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Published {
    noise_key: String,
    hpke_key: String,
}

/// Both public keys, in base64url.
pub(crate) fn published(app: &App) -> Published {
    let pairs = app.server_keys.pairs();
    let print = |key: PublicKey| Base64UrlUnpadded::encode_string(&key.0);
    Published {
        noise_key: print(pairs.noise.current.public()),
        hpke_key: print(pairs.hpke.current.public()),
    }
}
