//! Seals a value to the server's published key, so that only the server's locked memory opens it.

use base64ct::{Base64UrlUnpadded, Encoding};
use getrandom::SysRng;
use hyper::Method;
use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::ids::KeyName;
use keyferry_protocol::memory::{Arena, LockedBox, scrub, self_test};
use keyferry_protocol::sealed::{put_info, seal};
use rand_core::UnwrapErr;
use serde_json::Value;

use crate::error::CliError;
use crate::rest::{Ask, RestError};
use crate::secret_input::key_value;
use crate::session::{SignedIn, send};

/// Reads a value from the person, and seals it as version `version` of the key `name`.
pub(super) async fn sealed_value(
    caller: &SignedIn,
    name: &KeyName,
    version: u32,
) -> Result<String, CliError> {
    let server_key = published_key(caller).await?;
    let arena = Arena::new(self_test()?)?;
    let value = key_value(&arena)?;
    let info = put_info(*caller.user_id().as_bytes(), name, version);
    let sealed = seal_to(&arena, server_key, &info, &value);
    drop(value);
    scrub();
    Ok(Base64UrlUnpadded::encode_string(&sealed?))
}

fn seal_to(
    arena: &Arena,
    key: PublicKey,
    info: &[u8],
    value: &LockedBox,
) -> Result<Vec<u8>, CliError> {
    let mut rng = UnwrapErr(SysRng);
    seal(arena, &mut rng, key, info, value).map_err(|_| CliError::Seal)
}

async fn published_key(caller: &SignedIn) -> Result<PublicKey, CliError> {
    let rest = caller.rest();
    let published = send(rest, Ask::new(Method::GET, "/.well-known/keyferry")).await?;
    let text = published.get("hpke_key").and_then(Value::as_str);
    let mut key = [0; 32];
    match text.map(|text| Base64UrlUnpadded::decode(text, &mut key)) {
        Some(Ok(bytes)) if bytes.len() == 32 => Ok(PublicKey(key)),
        _ => Err(CliError::Unreachable {
            server: rest.address().clone(),
            source: RestError::Answer,
        }),
    }
}
