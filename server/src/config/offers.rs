//! What strangers and users are offered at all.

use super::names::{ENABLE_API_KEYS, ENABLE_PASSWORD_RESET, ENABLE_REGISTRATION};
use super::parse::unless_off;
use super::{ConfigError, Sources};
use crate::error::ApiError;

/// What the operator can switch off.
#[derive(Clone, Copy)]
pub(crate) struct Offers {
    pub(crate) registration: Offer,
    pub(crate) password_reset: Offer,
    pub(crate) api_keys: Offer,
}

/// One thing that is offered, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    On,
    Off,
}

impl Offers {
    pub(super) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let offer = |setting| {
            let on = unless_off(sources, setting)?;
            Ok(if on { Offer::On } else { Offer::Off })
        };
        Ok(Self {
            registration: offer(ENABLE_REGISTRATION)?,
            password_reset: offer(ENABLE_PASSWORD_RESET)?,
            api_keys: offer(ENABLE_API_KEYS)?,
        })
    }
}

impl Offer {
    /// Refuses what is switched off.
    pub(crate) fn must_be_on(self) -> Result<(), ApiError> {
        match self {
            Self::On => Ok(()),
            Self::Off => Err(ApiError::SwitchedOff),
        }
    }
}
