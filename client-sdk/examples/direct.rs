//! A program that has no agent: it reads a ticket, or the password of a login, from its standard
//! input, and prints a line of JSON for each change of one key.
//!
//! ```text
//! keyferry vms ticket my-program | direct --key openai
//! pass show ada | direct --key openai --server https://keys.example.org --username ada --vm my-program
//! ```

#![expect(
    clippy::print_stdout,
    reason = "printing what it sees is all that this example does"
)]

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;

use clap::Parser;
use keyferry_sdk::link::{Endpoint, ServerUrl};
use keyferry_sdk::tls::{ServerTrust, SpkiPin};
use keyferry_sdk::{Client, KeyHandle, Login, WipingAllocator, scrub};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What this program frees is wiped first.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

/// Holds one key without an agent, and tells of its changes.
#[derive(Parser)]
struct Arguments {
    /// The key.
    #[arg(long)]
    key: String,
    /// Sign in here, instead of bringing a ticket.
    #[arg(long, requires_all = ["username", "vm"])]
    server: Option<ServerUrl>,
    /// The server's fingerprint, unless the system's roots vouch for it.
    #[arg(long)]
    fingerprint: Option<SpkiPin>,
    /// Who signs in.
    #[arg(long)]
    username: Option<String>,
    /// The machine that this program is to the server.
    #[arg(long)]
    vm: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let secret = standard_input()?;
    let client = connect(&arguments, &secret).await?;
    drop(secret);
    scrub();
    let key = client.key(&arguments.key).await?;
    let mut watch = key.watch();
    loop {
        tell(&key);
        watch.changed().await?;
    }
}

async fn connect(
    arguments: &Arguments,
    secret: &SecretString,
) -> Result<Client, keyferry_sdk::Error> {
    use secrecy::ExposeSecret as _;
    let (Some(url), Some(username), Some(vm)) =
        (&arguments.server, &arguments.username, &arguments.vm)
    else {
        return Client::direct(secret.expose_secret().as_bytes()).await;
    };
    let trust = arguments
        .fingerprint
        .map_or(ServerTrust::System, ServerTrust::Pinned);
    let server =
        Endpoint::new(url.clone(), &trust, None).map_err(keyferry_sdk::link::LinkError::Tls)?;
    let login = Login::Person {
        username,
        password: secret,
        mfa_code: None,
    };
    Client::direct_as(&server, &login, vm).await
}

/// The library's own standard input keeps what it has read.
fn standard_input() -> Result<SecretString, Box<dyn Error>> {
    let mut input = File::open("/dev/stdin")?;
    let mut text = Zeroizing::new([0; 4096]);
    let mut length = 0;
    while let Some(rest) = text.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match input.read(rest)? {
            0 => break,
            read => length += read,
        }
    }
    let text = std::str::from_utf8(text.get(..length).unwrap_or_default())?;
    Ok(SecretString::from(text.trim()))
}

fn tell(key: &KeyHandle) {
    let told = key.expose_version(|version, bytes| {
        let mut hex = String::new();
        for byte in Sha256::digest(bytes) {
            let _strings_take_all = write!(hex, "{byte:02x}");
        }
        format!("{{\"event\":\"live\",\"version\":{version},\"sha256\":\"{hex}\"}}")
    });
    scrub();
    match told {
        Ok(line) => println!("{line}"),
        Err(error) => println!("{{\"event\":\"{}\"}}", error.code()),
    }
}
