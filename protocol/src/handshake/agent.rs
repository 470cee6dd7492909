//! The agent's side of the handshake: the initiator.

use super::hybrid::{self, Offer};
use super::schedule::SymmetricState;
use super::{CLEAR, Claims, CredentialRef, HandshakeError, Suite, header, prologue};
use crate::aead::TAG;
use crate::agreement::{KeyPair, PublicKey};
use crate::channel::{Channel, Role};
use crate::ids::InstanceId;
use crate::memory::{Arena, LockedBox, scrub};

/// What an agent needs to begin.
pub struct Hello<'a> {
    /// The server's static key `S`, pinned by the ticket.
    pub server_key: PublicKey,
    /// The suite; never lower than the ticket's.
    pub suite: Suite,
    /// This run of the agent.
    pub instance: InstanceId,
    /// The credential offered.
    pub credential: CredentialRef,
    /// The agent's own static key `A`.
    pub agent_key: &'a KeyPair,
}

/// Waits for the server's reply.
pub struct AwaitReply<'a> {
    arena: Arena,
    state: SymmetricState,
    ephemeral: KeyPair,
    offer: Option<Offer>,
    hello: Hello<'a>,
}

/// Begins a handshake and gives the first message: `-> e, es`.
pub fn begin<'a>(
    arena: &Arena,
    rng: &mut (impl rand_core::CryptoRng + ?Sized),
    hello: Hello<'a>,
) -> Result<(AwaitReply<'a>, Vec<u8>), HandshakeError> {
    let mut state =
        SymmetricState::new(arena, super::NAME, &prologue(hello.suite, hello.instance))?;
    state.mix_hash(&hello.server_key.0);
    let ephemeral = KeyPair::generate(arena, rng)?;
    let offer = match hello.suite {
        Suite::Hybrid => Some(Offer::generate()?),
        Suite::Classical => None,
    };
    let mut payload = vec![hello.credential.kind as u8];
    payload.extend_from_slice(&hello.credential.id.0);
    payload.extend(offer.iter().flat_map(|offer| &offer.encapsulation_key));

    let mut message = Vec::with_capacity(CLEAR + 32 + payload.len() + TAG);
    message.extend_from_slice(&header(hello.suite));
    message.extend_from_slice(&hello.instance.0);
    super::send_ephemeral(&mut state, &ephemeral, &mut message)?;
    state.mix_agreement(&ephemeral, hello.server_key)?;
    state.encrypt_and_hash(&payload, &mut message);
    scrub();
    Ok((
        AwaitReply {
            arena: arena.clone(),
            state,
            ephemeral,
            offer,
            hello,
        },
        message,
    ))
}

impl AwaitReply<'_> {
    /// Reads the reply `<- e, ee` and gives the third message: `-> s, se, psk`.
    pub fn finish(
        self,
        reply: &[u8],
        secret: &LockedBox,
        claims: &Claims,
    ) -> Result<(Channel, Vec<u8>), HandshakeError> {
        let finished = self.prove(reply, secret, claims);
        scrub();
        finished
    }

    fn prove(
        mut self,
        reply: &[u8],
        secret: &LockedBox,
        claims: &Claims,
    ) -> Result<(Channel, Vec<u8>), HandshakeError> {
        let (theirs, sealed) = reply
            .split_first_chunk::<32>()
            .ok_or(HandshakeError::Length)?;
        let theirs = PublicKey(*theirs);
        super::receive_ephemeral(&mut self.state, theirs)?;
        self.state.mix_agreement(&self.ephemeral, theirs)?;
        let ciphertext = self.state.decrypt_and_hash(sealed)?;
        let psk = self.pre_shared_key(&ciphertext, secret)?;

        let mut message = Vec::with_capacity(THIRD);
        self.state
            .encrypt_and_hash(&self.hello.agent_key.public().0, &mut message);
        self.state.mix_agreement(self.hello.agent_key, theirs)?;
        self.state.mix_key_and_hash(&psk)?;
        self.state.encrypt_and_hash(&claims.encode(), &mut message);
        Ok((self.state.split(Role::Initiator)?, message))
    }

    fn pre_shared_key(
        &self,
        ciphertext: &[u8],
        secret: &LockedBox,
    ) -> Result<LockedBox, HandshakeError> {
        let credential = self.hello.credential;
        match &self.offer {
            Some(offer) => offer
                .open(ciphertext)?
                .with(&self.arena, credential, secret),
            None if ciphertext.is_empty() => {
                let nothing = hybrid::hash(&[], &[]);
                hybrid::pre_shared_key(&self.arena, &[], &nothing, (credential, secret))
            }
            None => Err(HandshakeError::Payload),
        }
    }
}

const THIRD: usize = 32 + TAG + super::claims::LENGTH + TAG;
