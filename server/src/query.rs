//! Texts of a query string.

use crate::error::ApiError;

/// Percent-encoding taken off; a `+` in a time stays one.
pub(crate) fn decoded(name: &str, value: &str) -> Result<String, ApiError> {
    let wrong = || ApiError::invalid(name, "is not well encoded");
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(rest.next()), digit(rest.next()));
        let (high, low) = high.zip(low).ok_or_else(wrong)?;
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    // PostgreSQL keeps no NUL.
    if text.is_empty() || text.len() > LONGEST || text.contains('\0') {
        return Err(ApiError::invalid(name, "is 1 to 200 characters"));
    }
    Ok(text)
}

const LONGEST: usize = 200;
