//! From a ticket to everything that the agent needs to get to its servers.

use std::error::Error;

use keyferry_agent::config::Config;
use keyferry_agent::upstream::{Backoff, Credentials, Upstream};
use keyferry_protocol::agreement::KeyPair;
use keyferry_protocol::handshake::{Claims, CredentialKind, CredentialRef};
use keyferry_protocol::ids::InstanceId;
use keyferry_protocol::memory::{Arena, ProtectionLevel};
use keyferry_protocol::ticket::Ticket;
use keyferry_sdk::link::{Credential, Identity, ServerUrl, Target};
use keyferry_sdk::tls::{ServerTrust, SpkiPin};

/// The agent's own key pair is made here, and dies with the process.
pub(super) fn upstream(
    arena: Arena,
    ticket: Ticket,
    config: &Config,
) -> Result<Upstream, Box<dyn Error>> {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let mut instance = [0; 16];
    getrandom::fill(&mut instance)?;
    let identity = Identity {
        instance: InstanceId(instance),
        key: KeyPair::generate(&arena, &mut rng)?,
        claims: claims(arena.level()),
    };
    let reference = CredentialRef {
        kind: CredentialKind::Ticket,
        id: ticket.id,
    };
    Ok(Upstream {
        targets: targets(&ticket)?,
        identity,
        credentials: Credentials::new(Credential {
            reference,
            secret: ticket.secret,
        }),
        backoff: Backoff::new(&config.reconnect),
        session_life: config.session.renew_seconds.span(),
        arena,
    })
}

fn targets(ticket: &Ticket) -> Result<Vec<Target>, Box<dyn Error>> {
    let trust = match ticket.spki_pin {
        Some(pin) => ServerTrust::Pinned(SpkiPin(pin)),
        None => ServerTrust::System,
    };
    let urls = ticket.urls.iter().map(|url| url.parse::<ServerUrl>());
    urls.map(|url| {
        Ok(Target::new(
            url?,
            &trust,
            ticket.server_key,
            ticket.min_suite,
        )?)
    })
    .collect()
}

fn claims(protection: ProtectionLevel) -> Claims {
    Claims {
        boot_id: boot_id().unwrap_or_default(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        protection,
        capabilities: 0,
    }
}

/// A UUID in text; all zero where the kernel tells none.
fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let number = u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_id_is_that_of_the_kernel() {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let id = keyferry_protocol::ids::VmId(boot_id().unwrap());
        assert_eq!(id.to_string(), text.trim());
    }
}
