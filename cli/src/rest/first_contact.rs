//! Learns the fingerprint of an unknown server, without trusting it with anything.

use keyferry_sdk::tls::{SpkiPin, observing_config};

use super::connection::tls;
use super::{Address, RestError};

/// What the server shows. No connection comes of it: every certificate is refused once it was seen.
pub async fn observed_pin(address: &Address) -> Result<SpkiPin, RestError> {
    let (config, observed) = observing_config()?;
    let refused = tls(address, config).await.err();
    let silent = || refused.unwrap_or(RestError::Answer);
    observed.pin().ok_or_else(silent)
}
