//! Opaque tokens: 32 random bytes, of which the database knows the SHA-256.

use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding};
use rand_core::Rng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A token of any purpose.
pub(crate) struct OpaqueToken(Zeroizing<[u8; 32]>);

/// What a token is for, as its prefix tells people and scanners.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Session,
    Refresh,
    /// A link in a mail.
    Mail,
    /// A login that owes a second factor.
    Mfa,
    Invitation,
    /// An agent that waits for approval.
    Device,
    /// A browser's sign-in at a provider.
    ProviderSignIn,
    /// What a program gets for such a sign-in.
    ProviderCode,
}

impl Purpose {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Session => "kfs_",
            Self::Refresh => "kfr_",
            Self::Mail => "kfe_",
            Self::Mfa => "kfm_",
            Self::Invitation => "kfi_",
            Self::Device => "kfd_",
            Self::ProviderSignIn => "kfo_",
            Self::ProviderCode => "kfc_",
        }
    }
}

impl OpaqueToken {
    pub(crate) fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *bytes);
        Self(bytes)
    }

    /// The token that `text` shows, when it has this purpose and its one canonical form.
    pub(crate) fn parse(purpose: Purpose, text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(purpose.prefix())?;
        let mut bytes = Zeroizing::new([0; 32]);
        let decoded = Base64UrlUnpadded::decode(encoded, &mut *bytes).ok()?;
        (decoded.len() == 32).then_some(Self(bytes))
    }

    /// What its owner is given.
    pub(crate) fn text(&self, purpose: Purpose) -> Zeroizing<String> {
        let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(&*self.0));
        Zeroizing::new([purpose.prefix(), &encoded].concat())
    }

    /// What the database knows of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(*self.0).into()
    }

    /// `BASE64URL(HMAC-SHA256(key = token, purpose))`: tells nothing about the token.
    pub(crate) fn derived(&self, purpose: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        Base64UrlUnpadded::encode_string(hmac::sign(&key, purpose.as_bytes()).as_ref())
    }

    /// `HMAC-SHA256(key = token, "keyferry refresh successor" || salt)`: made again only by who
    /// has the token and the salt, so neither the database nor an old token alone gives it away.
    pub(crate) fn successor(&self, salt: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        let mut context = hmac::Context::with_key(&key);
        context.update(b"keyferry refresh successor");
        context.update(salt);
        let tag = context.sign();
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(tag.as_ref());
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use getrandom::SysRng;
    use rand_core::UnwrapErr;

    use super::{OpaqueToken, Purpose};

    #[test]
    fn a_token_has_one_form() {
        let token = OpaqueToken::random(&mut UnwrapErr(SysRng));
        let text = token.text(Purpose::Session);
        let parsed = OpaqueToken::parse(Purpose::Session, &text).unwrap();
        assert_eq!(parsed.hash(), token.hash());
        assert!(OpaqueToken::parse(Purpose::Refresh, &text).is_none());
        assert!(OpaqueToken::parse(Purpose::Session, &format!("{}=", *text)).is_none());
        assert!(OpaqueToken::parse(Purpose::Session, &text[..46]).is_none());
    }

    #[test]
    fn a_successor_follows_from_token_and_salt_alone() {
        let token = OpaqueToken::random(&mut UnwrapErr(SysRng));
        assert_eq!(
            token.successor(b"one").hash(),
            token.successor(b"one").hash()
        );
        assert_ne!(
            token.successor(b"one").hash(),
            token.successor(b"two").hash()
        );
    }
}
