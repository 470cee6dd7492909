//! A key's value on its way in: plain or sealed, and from then on only in locked memory.

use base64ct::{Base64UrlUnpadded, Encoding};
use keyferry_protocol::agreement::hkdf;
use keyferry_protocol::ids::KeyName;
use keyferry_protocol::memory::{LockedBox, MAX_VALUE, MemoryError, scrub};
use keyferry_protocol::sealed::{self, SealedError};

use crate::app::App;
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::SignedIn;
use crate::store::TenantId;
use crate::vault::master_key::MasterKey;

/// The members `value`, `sealed` and `version` of a request.
pub(super) struct Offered {
    pub(super) value: Option<Secret>,
    pub(super) sealed: Option<String>,
    pub(super) version: Option<u32>,
}

/// A value in locked memory, and what may be shown of it.
pub(super) struct Value {
    pub(super) plain: LockedBox,
    pub(super) fingerprint: String,
    pub(super) last4: Option<String>,
}

impl Offered {
    /// Takes the value for version `next` of `name`.
    pub(super) fn take(
        self,
        app: &App,
        caller: &SignedIn,
        (name, next): (&KeyName, u32),
    ) -> Result<Value, ApiError> {
        let plain = match (self.value, self.sealed) {
            (Some(value), None) => {
                let plain = app.arena.hold(value.expose().as_bytes());
                drop(value);
                scrub();
                plain.map_err(|cause| too_large_or(cause, "value"))?
            }
            (None, Some(sealed)) => {
                if self.version != Some(next) {
                    return Err(ApiError::VersionConflict);
                }
                let info = sealed::put_info(caller.user_id().bytes(), name, next);
                open(app, &sealed, &info)?
            }
            _ => return Err(ApiError::invalid("value", "send either value or sealed")),
        };
        Value::of(app, caller.tenant_id(), plain)
    }
}

impl Value {
    /// Checks a value that is in locked memory already.
    pub(super) fn of(app: &App, tenant: TenantId, plain: LockedBox) -> Result<Self, ApiError> {
        check(plain.expose())?;
        let (fingerprint, last4) = shown(app, tenant, &plain)?;
        Ok(Self {
            plain,
            fingerprint,
            last4,
        })
    }
}

fn open(app: &App, text: &str, info: &[u8]) -> Result<LockedBox, ApiError> {
    let sealed = Base64UrlUnpadded::decode_vec(text)
        .map_err(|_not_base64| ApiError::invalid("sealed", "is not base64url without padding"))?;
    if sealed.len() > MAX_VALUE + sealed::OVERHEAD {
        return Err(ApiError::invalid(
            "sealed",
            "the value is longer than 8192 bytes",
        ));
    }
    for pair in app.server_keys.pairs().hpke.iter() {
        match sealed::open(&app.arena, pair, info, &sealed) {
            Ok(plain) => return Ok(plain),
            Err(SealedError::Memory(cause)) => return Err(ApiError::internal(cause)),
            Err(_) => {}
        }
    }
    Err(ApiError::InvalidSealed)
}

fn check(value: &[u8]) -> Result<(), ApiError> {
    let wrong = |detail| Err(ApiError::invalid("value", detail));
    if value.is_empty() || value.len() > MAX_VALUE {
        return wrong("is 1 to 8192 bytes");
    }
    if str::from_utf8(value).is_err() {
        return wrong("is not UTF-8");
    }
    if value.iter().any(|byte| b"\0\r\n".contains(byte)) {
        return wrong("holds a NUL or a line break");
    }
    Ok(())
}

/// What may be shown of a value: its fingerprint, and the last four characters of one that is long
/// enough to show them.
fn shown(
    app: &App,
    tenant: TenantId,
    value: &LockedBox,
) -> Result<(String, Option<String>), ApiError> {
    let fingerprint = fingerprint(&app.master_key, tenant.bytes(), value);
    let text = str::from_utf8(value.expose()).unwrap_or_default();
    let last4 = (value.len() >= SHOWN_FROM)
        .then(|| {
            text.char_indices()
                .rev()
                .nth(3)
                .and_then(|(start, _)| text.get(start..))
        })
        .flatten()
        .map(ToOwned::to_owned);
    Ok((fingerprint.map_err(ApiError::internal)?, last4))
}

/// `HKDF(salt = key of the tenant, value, "fingerprint")` in hex.
pub(super) fn fingerprint(
    master_key: &MasterKey,
    tenant: [u8; 16],
    value: &LockedBox,
) -> Result<String, MemoryError> {
    let key = master_key.derive(&tenant, b"keyferry fingerprint/1")?;
    let mut fingerprint = [0; 16];
    hkdf(
        key.expose(),
        value.expose(),
        b"fingerprint",
        &mut fingerprint,
    );
    scrub();
    Ok(fingerprint
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn too_large_or(cause: MemoryError, field: &str) -> ApiError {
    match cause {
        MemoryError::TooLarge(_) => ApiError::invalid(field, "is 1 to 8192 bytes"),
        other => ApiError::internal(other),
    }
}

/// Values shorter than this show nothing of themselves.
const SHOWN_FROM: usize = 16;
