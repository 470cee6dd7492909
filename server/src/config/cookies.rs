//! How browsers keep a session.

use super::names::{COOKIE_HTTP_ONLY, COOKIE_NAME, COOKIE_SAME_SITE, COOKIE_SECURE};
use super::parse::wrong;
use super::{ConfigError, Sources, Transport};

/// The cookies of a session that a browser asked for.
#[derive(Clone)]
pub(crate) struct CookieSettings {
    /// Their name, before what the browser demands of a secure one.
    pub(crate) name: String,
    /// Whether a browser sends them over TLS only.
    pub(crate) secure: bool,
    /// `Strict` or `Lax`.
    pub(crate) same_site: &'static str,
}

impl CookieSettings {
    pub(super) fn parse(sources: &Sources, transport: Transport) -> Result<Self, ConfigError> {
        let name = sources.text(COOKIE_NAME).unwrap_or("keyferry_session");
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !name.bytes().all(plain) || name.starts_with("__") {
            let problem = "must be letters, digits, `-`, `_`, `.`, and not begin with `__`";
            return Err(wrong(COOKIE_NAME, problem));
        }
        let secure = match sources.text(COOKIE_SECURE) {
            None => transport == Transport::Tls,
            Some("true") => true,
            Some("false") if transport == Transport::Plain => false,
            Some(_) => return Err(wrong(COOKIE_SECURE, "must be true, or false without TLS")),
        };
        if sources
            .text(COOKIE_HTTP_ONLY)
            .is_some_and(|text| text != "true")
        {
            return Err(wrong(
                COOKIE_HTTP_ONLY,
                "can only be true: no script reads a session",
            ));
        }
        let same_site = match sources.text(COOKIE_SAME_SITE) {
            None => "Strict",
            Some(text) if text.eq_ignore_ascii_case("strict") => "Strict",
            Some(text) if text.eq_ignore_ascii_case("lax") => "Lax",
            Some(_) => return Err(wrong(COOKIE_SAME_SITE, "must be strict or lax")),
        };
        Ok(Self {
            name: name.to_owned(),
            secure,
            same_site,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{CookieSettings, Sources, Transport};

    #[test]
    fn with_tls_cookies_are_secure_and_strict() {
        let parse = |pairs: &[(&'static str, &str)], transport| {
            CookieSettings::parse(&Sources::from_pairs(pairs.iter().copied()), transport)
        };
        let usual = parse(&[], Transport::Tls).unwrap();
        assert!(usual.secure && usual.same_site == "Strict");
        assert!(!parse(&[], Transport::Plain).unwrap().secure);
        for wrong in [
            ("AUTH_SESSION_COOKIE_SECURE", "false"),
            ("AUTH_SESSION_COOKIE_SAMESITE", "none"),
            ("AUTH_SESSION_COOKIE_HTTPONLY", "false"),
            ("AUTH_SESSION_COOKIE_NAME", "a=b"),
            ("AUTH_SESSION_COOKIE_NAME", "__Host-x"),
        ] {
            assert!(parse(&[wrong], Transport::Tls).is_err(), "{wrong:?}");
        }
    }
}
