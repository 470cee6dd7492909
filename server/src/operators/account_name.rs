//! What an operator calls an account: its id, its username or its e-mail address.

use std::str::FromStr;

use crate::accounts::{Email, Username};
use crate::error::ApiError;
use crate::store::UserId;

/// One account, by any of its names.
pub(crate) enum AccountName {
    Id(UserId),
    Username(Username),
    Email(Email),
}

impl FromStr for AccountName {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let name = if text.contains('@') {
            text.parse().map(Self::Email)
        } else {
            text.parse().map(Self::Username)
        };
        name.map_err(|_| ApiError::NotFound)
    }
}
