//! Ten codes on paper, each of which stands once for the app.

use rand_core::Rng;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{TypedCode, prove};
use crate::app::App;
use crate::audit::Entry;
use crate::base32;
use crate::error::ApiError;
use crate::secret::Handed;
use crate::sessions::SignedIn;
use crate::store::{StoreError, Transaction, UserId, uuid_v7};

/// Recovery codes, shown once.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RecoveryCodes {
    recovery_codes: Vec<Handed>,
}

/// New recovery codes in place of all old ones, for who has a second factor at hand.
pub(crate) async fn renew_recovery_codes(
    app: &App,
    caller: &SignedIn,
    request: TypedCode,
) -> Result<RecoveryCodes, ApiError> {
    caller.session_id()?;
    prove(app, caller, &request.code).await?;
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "mfa.recovery_codes_renewed",
        subject: None,
        detail: json!({}),
        correlation: caller.request_id(),
    };
    let mut change = app.store.begin().await?;
    caller.hold(app, &mut change).await?;
    let codes = replace(app, &mut change, caller.user_id()).await?;
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    Ok(codes)
}

pub(super) async fn replace(
    app: &App,
    change: &mut Transaction,
    user: UserId,
) -> Result<RecoveryCodes, StoreError> {
    let now = app.clock.now();
    change.delete_recovery_codes(user).await?;
    let mut recovery_codes = Vec::with_capacity(CODES);
    for _ in 0..CODES {
        let mut code = Zeroizing::new([0; CODE]);
        app.rng().fill_bytes(&mut *code);
        let id = uuid_v7(now, &mut app.rng());
        change
            .insert_recovery_code(id, user, (&hash(&code), now))
            .await?;
        recovery_codes.push(Handed::new(text(&code)));
    }
    Ok(RecoveryCodes { recovery_codes })
}

/// Uses the code up, if it is one of the user's. Of several requests with one code, one is right.
pub(super) async fn redeem(app: &App, user: UserId, code: &str) -> Result<bool, ApiError> {
    let Some(code) = base32::decode::<CODE>(code) else {
        return Ok(false);
    };
    let now = app.clock.now();
    Ok(app.store.use_recovery_code(user, &hash(&code), now).await?)
}

/// Four groups of four letters or digits.
fn text(code: &[u8; CODE]) -> Zeroizing<String> {
    let mut grouped = Zeroizing::new(String::with_capacity(19));
    for (place, letter) in base32::encode(code).chars().enumerate() {
        if place > 0 && place % 4 == 0 {
            grouped.push('-');
        }
        grouped.push(letter.to_ascii_lowercase());
    }
    grouped
}

fn hash(code: &[u8; CODE]) -> [u8; 32] {
    Sha256::digest(code).into()
}

const CODES: usize = 10;
/// Bytes of a code: 80 bits that nobody guesses.
const CODE: usize = 10;
