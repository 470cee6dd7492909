//! The ticket, and the reattach credentials that take its place. All in locked memory.
//!
//! Until the server has shown that it knows of the newest one, the one before is kept: whichever
//! message is lost, one of the two is good (PROTOCOL.md §2).

use keyferry_protocol::handshake::{CredentialKind, CredentialRef};
use keyferry_protocol::ids::CredentialId;
use keyferry_protocol::memory::{Arena, MemoryError, scrub};

use super::Credential;

/// What may be offered to the server.
pub struct Credentials {
    newest: Option<Credential>,
    before: Option<Credential>,
    offering: Offering,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Offering {
    Newest,
    Before,
}

impl Credentials {
    /// Nothing to offer yet.
    pub fn none() -> Self {
        Self {
            newest: None,
            before: None,
            offering: Offering::Newest,
        }
    }

    /// A ticket, which takes the place of everything before it.
    pub fn replace(&mut self, ticket: Credential) {
        *self = Self {
            newest: Some(ticket),
            ..Self::none()
        };
    }

    /// The one to offer now.
    pub fn offered(&self) -> Option<&Credential> {
        match self.offering {
            Offering::Before => self.before.as_ref(),
            Offering::Newest => self.newest.as_ref(),
        }
    }

    /// The server has handed over the next one, in a session that was opened with what is offered.
    pub fn take(
        &mut self,
        arena: &Arena,
        id: CredentialId,
        secret: &[u8; 32],
    ) -> Result<(), MemoryError> {
        let secret = arena.hold(secret)?;
        scrub();
        let reference = CredentialRef {
            kind: CredentialKind::Reattach,
            id,
        };
        if self.offering == Offering::Newest {
            self.before = self.newest.take();
        }
        self.newest = Some(Credential { reference, secret });
        self.offering = Offering::Newest;
        Ok(())
    }

    /// The server has spoken after `Ready`: the newest counts, and the one before is retired.
    pub fn confirm(&mut self) {
        self.before = None;
    }

    /// The server refuses what was offered. An unconfirmed credential may be unknown to it.
    pub fn refused(&mut self) {
        self.offering = match self.offering {
            Offering::Newest if self.before.is_some() => Offering::Before,
            _ => Offering::Newest,
        };
    }

    /// This VM is cut off.
    pub fn forget(&mut self) {
        *self = Self::none();
    }
}

#[cfg(test)]
mod tests {
    use keyferry_protocol::memory::self_test;

    use super::*;

    struct Wallet(Credentials, Arena);

    impl Wallet {
        fn with_ticket() -> Self {
            let arena = Arena::new(self_test().unwrap()).unwrap();
            let reference = CredentialRef {
                kind: CredentialKind::Ticket,
                id: CredentialId([0; 16]),
            };
            let secret = arena.hold(&[0; 32]).unwrap();
            let mut credentials = Credentials::none();
            credentials.replace(Credential { reference, secret });
            Self(credentials, arena)
        }

        fn take(&mut self, number: u8) {
            self.0
                .take(&self.1, CredentialId([number; 16]), &[number; 32])
                .unwrap();
        }

        fn offered(&self) -> Option<u8> {
            let offered = self.0.offered()?;
            assert_eq!(offered.secret.expose(), offered.reference.id.0.repeat(2));
            Some(offered.reference.id.0[0])
        }
    }

    #[test]
    fn the_newest_credential_is_offered() {
        let mut wallet = Wallet::with_ticket();
        assert_eq!(wallet.offered(), Some(0));
        wallet.take(1);
        assert_eq!(wallet.offered(), Some(1));
        assert_eq!(
            wallet.0.offered().unwrap().reference.kind,
            CredentialKind::Reattach
        );
    }

    #[test]
    fn when_the_confirmation_was_lost_the_one_before_is_offered_next() {
        let mut wallet = Wallet::with_ticket();
        wallet.take(1);
        wallet.0.refused();
        assert_eq!(wallet.offered(), Some(0));
        wallet.take(2);
        assert_eq!(wallet.offered(), Some(2));
        wallet.0.refused();
        assert_eq!(wallet.offered(), Some(0), "1 was never known to the server");
    }

    #[test]
    fn a_confirmed_credential_retires_the_one_before() {
        let mut wallet = Wallet::with_ticket();
        wallet.take(1);
        wallet.0.confirm();
        wallet.0.refused();
        assert_eq!(wallet.offered(), Some(1));
    }

    #[test]
    fn both_are_offered_in_turn_while_both_are_refused() {
        let mut wallet = Wallet::with_ticket();
        wallet.take(1);
        let offered: Vec<_> = (0..4)
            .map(|_| {
                wallet.0.refused();
                wallet.offered().unwrap()
            })
            .collect();
        assert_eq!(offered, [0, 1, 0, 1]);
    }

    #[test]
    fn a_vm_that_is_cut_off_has_nothing_to_offer() {
        let mut wallet = Wallet::with_ticket();
        wallet.take(1);
        wallet.0.forget();
        assert_eq!(wallet.offered(), None);
    }
}
