//! Tickets: one string that is all an agent needs to enrol. PROTOCOL.md §2.
//!
//! ```text
//!  kft1_ base64url( version[1] id[16] secret[32] S[32] min_suite[1]
//!                   pin?[1] pin[32 when there is one] urls[1] { length[1] url } checksum[4] )
//! ```

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use crate::agreement::PublicKey;
use crate::handshake::Suite;
use crate::ids::CredentialId;
use crate::memory::{Arena, LockedBox, MemoryError, scrub};

/// A one-time right to enrol a VM.
pub struct Ticket {
    /// Which ticket.
    pub id: CredentialId,
    /// What proves it; 32 bytes.
    pub secret: LockedBox,
    /// The server's static key `S`.
    pub server_key: PublicKey,
    /// The lowest suite that the agent may use.
    pub min_suite: Suite,
    /// SHA-256 of the server certificate's `SubjectPublicKeyInfo`; without one the certificate
    /// must be trusted by the system.
    pub spki_pin: Option<[u8; 32]>,
    /// Where the servers are, one after another.
    pub urls: Vec<String>,
}

/// Why a text is not a ticket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Not `kft1_` and base64url.
    #[error("this is not a ticket: a ticket starts with kft1_ and has no spaces")]
    NotATicket,
    /// The checksum is wrong.
    #[error("the ticket is damaged: copy it again, whole")]
    Damaged,
    /// A version or suite that this program does not know.
    #[error("the ticket is of a newer version: update this program")]
    Newer,
    /// No locked memory left.
    #[error("no locked memory for a ticket")]
    Memory(#[from] MemoryError),
}

impl Ticket {
    /// Reads a printed ticket; white space around it is ignored.
    pub fn parse(arena: &Arena, text: &[u8]) -> Result<Self, TicketError> {
        let text = text
            .trim_ascii()
            .strip_prefix(PREFIX)
            .ok_or(TicketError::NotATicket)?;
        if text.len() > LONGEST_TEXT {
            return Err(TicketError::NotATicket);
        }
        let mut bytes = arena.take(text.len())?;
        let decoded = Base64UrlUnpadded::decode(text, bytes.expose_mut())
            .map(<[u8]>::len)
            .map_err(|_not_base64| TicketError::NotATicket)?;
        bytes.truncate(decoded);
        let ticket = Self::read(arena, bytes.expose());
        scrub();
        ticket
    }

    /// The printed form.
    pub fn print(&self, arena: &Arena) -> Result<LockedBox, MemoryError> {
        let pin = self.spki_pin.as_ref().map_or(&[][..], |pin| pin);
        let length = 84 + pin.len() + self.urls.iter().map(|url| 1 + url.len()).sum::<usize>() + 4;
        let mut bytes = arena.take(length)?;
        let urls = self.urls.iter().flat_map(|url| {
            let length = u8::try_from(url.len()).expect("a URL in a ticket is at most 255 bytes");
            [length].into_iter().chain(url.bytes())
        });
        let head = [VERSION].into_iter().chain(self.id.0);
        let parts = head
            .chain(self.secret.expose().iter().copied())
            .chain(self.server_key.0)
            .chain([self.min_suite as u8, u8::from(self.spki_pin.is_some())])
            .chain(pin.iter().copied())
            .chain([u8::try_from(self.urls.len()).expect("a ticket has few URLs")])
            .chain(urls);
        bytes
            .expose_mut()
            .iter_mut()
            .zip(parts)
            .for_each(|(to, from)| *to = from);
        let body = length - 4;
        let sum = bytes
            .expose()
            .get(..body)
            .map(checksum)
            .expect("a ticket has a body");
        bytes
            .expose_mut()
            .get_mut(body..)
            .expect("room for the checksum")
            .copy_from_slice(&sum);

        let mut text = arena.take(PREFIX.len() + Base64UrlUnpadded::encoded_len(bytes.expose()))?;
        let (prefix, rest) = text.expose_mut().split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        Base64UrlUnpadded::encode(bytes.expose(), rest).expect("the length was asked for");
        scrub();
        Ok(text)
    }

    fn read(arena: &Arena, bytes: &[u8]) -> Result<Self, TicketError> {
        let (body, sum) = bytes
            .split_last_chunk::<4>()
            .ok_or(TicketError::NotATicket)?;
        if checksum(body) != *sum {
            return Err(TicketError::Damaged);
        }
        let mut fields = Fields(body);
        if fields.byte()? != VERSION {
            return Err(TicketError::Newer);
        }
        let id = CredentialId(fields.array()?);
        let secret = arena.hold(fields.take(32)?)?;
        let server_key = PublicKey(fields.array()?);
        let min_suite = Suite::from_code(fields.byte()?).ok_or(TicketError::Newer)?;
        let spki_pin = match fields.byte()? {
            0 => None,
            1 => Some(fields.array()?),
            _ => return Err(TicketError::Newer),
        };
        let urls = fields.urls()?;
        Ok(Self {
            id,
            secret,
            server_key,
            min_suite,
            spki_pin,
            urls,
        })
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], TicketError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(TicketError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TicketError> {
        self.take(N)
            .map(|taken| taken.try_into().expect("N bytes were taken"))
    }

    fn byte(&mut self) -> Result<u8, TicketError> {
        self.array().map(|[byte]| byte)
    }

    fn urls(mut self) -> Result<Vec<String>, TicketError> {
        let count = self.byte()?;
        let urls: Vec<_> = (0..count)
            .map(|_| {
                let length = self.byte()?;
                let url = self.take(length.into())?;
                let text = str::from_utf8(url).map_err(|_not_utf8| TicketError::Damaged)?;
                Ok(text.to_owned())
            })
            .collect::<Result<_, TicketError>>()?;
        if urls.is_empty() || !self.0.is_empty() {
            return Err(TicketError::Damaged);
        }
        Ok(urls)
    }
}

/// The first four bytes of SHA-256: finds slips of the hand, not forgery.
fn checksum(body: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(body).into();
    [a, b, c, d]
}

const PREFIX: &[u8] = b"kft1_";
const VERSION: u8 = 1;
const LONGEST_TEXT: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ProtectionLevel;

    fn arena() -> Arena {
        Arena::new(ProtectionLevel::Mlock).unwrap()
    }

    fn ticket(arena: &Arena, spki_pin: Option<[u8; 32]>) -> Ticket {
        Ticket {
            id: CredentialId([1; 16]),
            secret: arena.hold(&[2; 32]).unwrap(),
            server_key: PublicKey([3; 32]),
            min_suite: Suite::Hybrid,
            spki_pin,
            urls: vec![
                "https://10.0.2.2:8443".to_owned(),
                "https://keys.example".to_owned(),
            ],
        }
    }

    #[test]
    fn a_printed_ticket_can_be_read() {
        let arena = arena();
        for pin in [None, Some([4; 32])] {
            let printed = ticket(&arena, pin).print(&arena).unwrap();
            assert!(printed.expose().starts_with(b"kft1_"));
            let spaced = [b" ", printed.expose(), b"\r\n"].concat();
            let read = Ticket::parse(&arena, &spaced).unwrap();
            assert_eq!(read.id, CredentialId([1; 16]));
            assert_eq!(read.secret.expose(), [2; 32]);
            assert_eq!(read.server_key, PublicKey([3; 32]));
            assert_eq!(read.min_suite, Suite::Hybrid);
            assert_eq!(read.spki_pin, pin);
            assert_eq!(read.urls, ["https://10.0.2.2:8443", "https://keys.example"]);
        }
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let arena = arena();
        let printed = ticket(&arena, None).print(&arena).unwrap();
        for position in 0..printed.len() {
            let mut changed = printed.expose().to_vec();
            changed[position] = if changed[position] == b'A' {
                b'B'
            } else {
                b'A'
            };
            assert!(
                Ticket::parse(&arena, &changed).is_err(),
                "character {position}"
            );
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let arena = arena();
        let printed = ticket(&arena, None).print(&arena).unwrap();
        let cut = printed.expose().len() - 2;
        for text in [
            &b""[..],
            b"kft1_",
            b"kft2_AAAA",
            b"kft1_%%%",
            &printed.expose()[..cut],
        ] {
            assert!(Ticket::parse(&arena, text).is_err());
        }
        let long = [&b"kft1_"[..], &[b'A'; 9000]].concat();
        assert!(matches!(
            Ticket::parse(&arena, &long),
            Err(TicketError::NotATicket)
        ));
    }
}
