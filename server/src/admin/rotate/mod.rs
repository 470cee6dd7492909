//! `keyferry-server rotate`: the server's own keys are replaced while it runs.

mod jwt;
mod master_key;
mod server_key;

use clap::Subcommand;

use super::{Failure, Settings};

#[derive(Subcommand)]
pub(super) enum Rotate {
    /// Sign tokens with a new key from now on; those of the old one count until they end
    Jwt {
        #[command(flatten)]
        settings: Settings,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Seal everything under a new master key, while servers run. Killed, it goes on where it was
    /// when it is begun again
    MasterKey(master_key::MasterKeyFlags),
    /// Give the server new key pairs for agents (Noise) and for sealed values (HPKE); agents that
    /// are connected learn the new one at once, the old one counts for an overlap
    ServerKey(server_key::ServerKeyFlags),
}

/// Runs one rotation.
pub(super) async fn rotate(what: Rotate) -> Result<(), Failure> {
    match what {
        Rotate::Jwt { settings, json } => jwt::jwt(settings.parse(Vec::new())?, json).await,
        Rotate::MasterKey(flags) => master_key::master_key(flags).await,
        Rotate::ServerKey(flags) => server_key::server_key(flags).await,
    }
}
