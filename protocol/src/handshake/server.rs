//! The server's side of the handshake: the responder.

use super::hybrid::{self, Encapsulated};
use super::schedule::SymmetricState;
use super::{
    CLEAR, Claims, CredentialKind, CredentialRef, HandshakeError, Suite, header, prologue,
};
use crate::aead::TAG;
use crate::agreement::{KeyPair, PublicKey};
use crate::channel::{Channel, Role};
use crate::ids::{CredentialId, InstanceId};
use crate::memory::{Arena, LockedBox, scrub};

/// A first message that opened: an agent offers a credential.
pub struct Offered {
    arena: Arena,
    state: SymmetricState,
    theirs: PublicKey,
    suite: Suite,
    encapsulation_key: Vec<u8>,
    credential: CredentialRef,
    instance: InstanceId,
}

/// Reads the first message, `-> e, es`, with the server's static key.
///
/// The key's rotation has two valid at once: try the next on [`HandshakeError::DoesNotOpen`].
pub fn receive(
    arena: &Arena,
    static_key: &KeyPair,
    minimum: Suite,
    message: &[u8],
) -> Result<Offered, HandshakeError> {
    let offered = open_first(arena, static_key, minimum, message);
    scrub();
    offered
}

fn open_first(
    arena: &Arena,
    static_key: &KeyPair,
    minimum: Suite,
    message: &[u8],
) -> Result<Offered, HandshakeError> {
    let (clear, rest) = message
        .split_first_chunk::<CLEAR>()
        .ok_or(HandshakeError::Length)?;
    let (suite, instance) = read_clear(clear)?;
    if suite < minimum {
        return Err(HandshakeError::Suite);
    }
    let (theirs, sealed) = rest
        .split_first_chunk::<32>()
        .ok_or(HandshakeError::Length)?;
    if sealed.len() != payload_length(suite) + TAG {
        return Err(HandshakeError::Length);
    }
    let theirs = PublicKey(*theirs);
    let mut state = SymmetricState::new(arena, super::NAME, &prologue(suite, instance))?;
    state.mix_hash(&static_key.public().0);
    super::receive_ephemeral(&mut state, theirs)?;
    state.mix_agreement(static_key, theirs)?;
    let payload = state.decrypt_and_hash(sealed)?;
    let (credential, encapsulation_key) = read_payload(&payload).ok_or(HandshakeError::Payload)?;
    let arena = arena.clone();
    Ok(Offered {
        arena,
        state,
        theirs,
        suite,
        encapsulation_key,
        credential,
        instance,
    })
}

impl Offered {
    /// The credential that the agent has to prove.
    #[must_use]
    pub fn credential(&self) -> CredentialRef {
        self.credential
    }

    /// The run of the agent that speaks.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The suite in use.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The reply: `<- e, ee`.
    pub fn reply(
        self,
        rng: &mut (impl rand_core::CryptoRng + ?Sized),
    ) -> Result<(AwaitProof, Vec<u8>), HandshakeError> {
        let replied = self.encapsulate(rng);
        scrub();
        replied
    }

    fn encapsulate(
        mut self,
        rng: &mut (impl rand_core::CryptoRng + ?Sized),
    ) -> Result<(AwaitProof, Vec<u8>), HandshakeError> {
        let ephemeral = KeyPair::generate(&self.arena, rng)?;
        let mut message = Vec::with_capacity(32 + hybrid::CIPHERTEXT + TAG);
        super::send_ephemeral(&mut self.state, &ephemeral, &mut message)?;
        self.state.mix_agreement(&ephemeral, self.theirs)?;
        let encapsulated = match self.suite {
            Suite::Hybrid => Some(Encapsulated::to(&self.arena, &self.encapsulation_key)?),
            Suite::Classical => None,
        };
        let payload = encapsulated
            .as_ref()
            .map_or(&[][..], |share| &share.ciphertext);
        self.state.encrypt_and_hash(payload, &mut message);
        Ok((
            AwaitProof {
                offered: self,
                ephemeral,
                encapsulated,
            },
            message,
        ))
    }
}

/// Waits for the agent's proof.
pub struct AwaitProof {
    offered: Offered,
    ephemeral: KeyPair,
    encapsulated: Option<Encapsulated>,
}

/// An agent that has proven its credential, and the channel to it.
pub struct Proven {
    /// The agent's static key `A`.
    pub agent_key: PublicKey,
    /// What it says of itself.
    pub claims: Claims,
    /// The channel, ready for transport.
    pub channel: Channel,
}

impl AwaitProof {
    /// Reads the third message, `-> s, se, psk`.
    ///
    /// `secret` is the credential's; for one that does not exist pass a random one, so that an
    /// unknown credential and a wrong one fail alike.
    pub fn verify(self, message: &[u8], secret: &LockedBox) -> Result<Proven, HandshakeError> {
        let proven = self.open_third(message, secret);
        scrub();
        proven
    }

    fn open_third(self, message: &[u8], secret: &LockedBox) -> Result<Proven, HandshakeError> {
        let psk = self.pre_shared_key(secret)?;
        let Self {
            offered: Offered { mut state, .. },
            ephemeral,
            ..
        } = self;
        let (sealed_key, sealed_claims) = message
            .split_at_checked(32 + TAG)
            .ok_or(HandshakeError::Length)?;
        if sealed_claims.len() != super::claims::LENGTH + TAG {
            return Err(HandshakeError::Length);
        }
        let agent_key = state.decrypt_and_hash(sealed_key)?;
        let agent_key = PublicKey(
            agent_key
                .try_into()
                .expect("32 bytes and a tag were opened"),
        );
        state.mix_agreement(&ephemeral, agent_key)?;
        state.mix_key_and_hash(&psk)?;
        let claims = Claims::decode(&state.decrypt_and_hash(sealed_claims)?)?;
        Ok(Proven {
            agent_key,
            claims,
            channel: state.split(Role::Responder)?,
        })
    }

    fn pre_shared_key(&self, secret: &LockedBox) -> Result<LockedBox, HandshakeError> {
        let Offered {
            arena, credential, ..
        } = &self.offered;
        match &self.encapsulated {
            Some(encapsulated) => encapsulated.with(arena, *credential, secret),
            None => {
                let nothing = hybrid::hash(&[], &[]);
                hybrid::pre_shared_key(arena, &[], &nothing, (*credential, secret))
            }
        }
    }
}

fn read_clear(clear: &[u8; CLEAR]) -> Result<(Suite, InstanceId), HandshakeError> {
    let (start, instance) = clear
        .split_first_chunk::<4>()
        .ok_or(HandshakeError::Length)?;
    let suite = Suite::from_code(start.last().copied().unwrap_or_default());
    let suite = suite.ok_or(HandshakeError::Suite)?;
    if *start != header(suite) {
        return Err(HandshakeError::Version);
    }
    let instance = instance
        .try_into()
        .map_err(|_wrong_length| HandshakeError::Length)?;
    Ok((suite, InstanceId(instance)))
}

fn read_payload(payload: &[u8]) -> Option<(CredentialRef, Vec<u8>)> {
    let (kind, rest) = payload.split_first()?;
    let (id, encapsulation_key) = rest.split_first_chunk::<16>()?;
    let kind = CredentialKind::from_code(*kind)?;
    Some((
        CredentialRef {
            kind,
            id: CredentialId(*id),
        },
        encapsulation_key.to_vec(),
    ))
}

fn payload_length(suite: Suite) -> usize {
    match suite {
        Suite::Classical => 17,
        Suite::Hybrid => 17 + hybrid::ENCAPSULATION_KEY,
    }
}
