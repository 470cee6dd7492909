//! From a ticket to everything that the agent needs to get to its servers.

use std::error::Error;
use std::path::Path;

use keyferry_agent::arguments::{Run, ServerToAsk};
use keyferry_agent::config::Config;
use keyferry_agent::upstream::{Approval, HostChannel, Source, USUAL, Upstream};
use keyferry_protocol::handshake::Claims;
use keyferry_protocol::memory::{Arena, ProtectionLevel};
use keyferry_sdk::ClientCertificate;
use keyferry_sdk::link::{Credentials, Endpoint, Identity};
use keyferry_sdk::tls::{ServerTrust, TlsError};

use crate::ticket_source::{NoTicket, read_ticket};

/// The agent's own key pair is made here, and dies with the process. With neither ticket nor anybody
/// to ask it refuses.
pub(super) fn upstream(
    arena: Arena,
    options: &Run,
    config: &Config,
) -> Result<Upstream, Box<dyn Error>> {
    let from = &options.ticket;
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let shown = client_certificate(config)?;
    let identity = Identity::fresh(&arena, claims(arena.level()), &mut rng)?;
    let mut upstream = Upstream {
        targets: Vec::new(),
        shown,
        identity,
        credentials: Credentials::none(),
        source: Source::Nobody,
        refusals: 0,
        backoff: config.reconnect.backoff(),
        session_life: config.session.renew_seconds.seconds(),
        arena,
    };
    if let Some(path) = &from.channel {
        upstream.source = Source::Host(open_channel(path)?);
        return Ok(upstream);
    }
    if let (true, Some(approval)) = (from.approve, approval(&options.server, &upstream)?) {
        upstream.source = Source::Person(approval);
        return Ok(upstream);
    }
    match read_ticket(from, &upstream.arena) {
        Ok(ticket) => upstream.enrol_with(ticket)?,
        Err(NoTicket::NotGiven) if Path::new(USUAL).exists() => {
            upstream.source = Source::Host(open_channel(Path::new(USUAL))?);
        }
        Err(none) => return Err(none.into()),
    }
    Ok(upstream)
}

/// What it says of the files' modes and contents is said before anything else happens.
fn client_certificate(config: &Config) -> Result<Option<ClientCertificate>, Box<dyn Error>> {
    match (&config.client_certificate, &config.client_key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(ClientCertificate::read(certificate, key)?)),
        _ => Err("client_certificate and client_key belong together: set both".into()),
    }
}

fn approval(from: &ServerToAsk, upstream: &Upstream) -> Result<Option<Approval>, TlsError> {
    let Some(url) = from.server.clone() else {
        return Ok(None);
    };
    let trust = match from.fingerprint {
        Some(pin) => ServerTrust::Pinned(pin),
        None => ServerTrust::System,
    };
    Ok(Some(Approval {
        server: Endpoint::new(url, &trust, upstream.shown.as_ref())?,
        name: from.name.as_ref().map(ToString::to_string),
        tenant: from.tenant.clone(),
    }))
}

fn open_channel(path: &Path) -> Result<HostChannel, String> {
    let path = if path == Path::new("auto") {
        Path::new(USUAL)
    } else {
        path
    };
    HostChannel::open(path).map_err(|source| {
        format!(
            "the host channel {} cannot be opened: {source}",
            path.display()
        )
    })
}

fn claims(protection: ProtectionLevel) -> Claims {
    Claims {
        boot_id: boot_id().unwrap_or_default(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        protection,
        capabilities: Claims::TAKES_SERVER_KEYS | Claims::TAKES_USAGE,
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
