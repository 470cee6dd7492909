//! Who one is at a server: `keyferry register`, `login`, `logout`, `sessions`, `devices`, `account`, `password`, `mfa`,
//! `identities` and `api-keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyferry_sdk::tls::SpkiPin;

use crate::rest::Address;

/// Which server, and why it is trusted.
#[derive(Args)]
pub struct Contact {
    /// Such as `https://keys.example.org:8443`. Default: the server of the last session.
    #[arg(long, value_name = "URL")]
    pub server: Option<Address>,
    /// What the server printed at its first start: `sha256:...`. Without it, the system's root
    /// certificates decide, and else you are asked.
    #[arg(long, value_name = "PIN")]
    pub fingerprint: Option<SpkiPin>,
    /// A certificate (PEM), for a server that lets nobody in without. It is remembered with the
    /// session, and read again when it is renewed.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<PathBuf>,
    /// Its key, which nobody else may be able to read.
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
}

/// See [`super::Command::Register`].
#[derive(Args)]
pub struct Register {
    #[command(flatten)]
    pub(crate) contact: Contact,
    /// The name to sign in with.
    #[arg(long)]
    pub(crate) username: Option<String>,
    /// An address to sign in with.
    #[arg(long, required_unless_present = "username")]
    pub(crate) email: Option<String>,
    /// Your full name.
    #[arg(long)]
    pub(crate) full_name: Option<String>,
    /// The name of your team.
    #[arg(long)]
    pub(crate) tenant_name: Option<String>,
    /// Read the password from standard input.
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// See [`super::Command::Login`].
#[derive(Args)]
pub struct Login {
    #[command(flatten)]
    pub(crate) contact: Contact,
    /// A user name or an e-mail address. Default: asked for.
    #[arg(long)]
    pub(crate) username: Option<String>,
    /// Read the password from standard input, and from a second line the code of the second
    /// factor, if you have one.
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Sign in at this provider, with a browser, instead of by a password.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["username", "password_stdin"])]
    pub(crate) provider: Option<String>,
}

/// See [`super::Command::Sessions`].
#[derive(Subcommand)]
pub enum Sessions {
    /// List your sessions, newest first.
    List,
    /// End one of them.
    End {
        /// Its id.
        id: uuid::Uuid,
    },
}

/// See [`super::Command::Logout`].
#[derive(Args)]
pub struct Logout {
    /// End every session of yours, wherever it is.
    #[arg(long)]
    pub(crate) everywhere: bool,
}

/// See [`super::Command::Devices`].
#[derive(Subcommand)]
pub enum Devices {
    /// List them, newest first.
    List,
    /// Forget one, and end its sessions.
    Forget {
        /// As the list tells it.
        id: uuid::Uuid,
    },
}

/// See [`super::Command::Account`].
#[derive(Subcommand)]
pub enum Account {
    /// Show your account and what you may do.
    Show,
    /// Change your names or your address; a new address needs the password.
    Change {
        /// Another name to sign in with.
        #[arg(long)]
        username: Option<String>,
        /// Another address; a token to verify it goes there.
        #[arg(long)]
        email: Option<String>,
        /// Your full name; an empty one takes it away.
        #[arg(long)]
        full_name: Option<String>,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Prove by the token of a mail that your address is yours. The token is asked for, or read
    /// from standard input.
    Verify(Contact),
    /// Have the token to verify an address mailed again.
    Resend {
        /// Which server.
        #[command(flatten)]
        contact: Contact,
        /// The address.
        email: String,
    },
    /// Print everything that the server knows of you, as JSON.
    Export,
    /// Close your account; what only you own is destroyed, and your machines wipe.
    Close {
        /// Read the password from standard input, and from a second line a code of the second
        /// factor, if you have one.
        #[arg(long)]
        password_stdin: bool,
    },
}

/// See [`super::Command::Password`].
#[derive(Subcommand)]
pub enum Password {
    /// Have a token to choose a new password mailed.
    Forgot {
        /// Which server.
        #[command(flatten)]
        contact: Contact,
        /// Your address.
        email: String,
    },
    /// Choose a new password by the token of that mail; every session ends.
    Reset {
        /// Which server.
        #[command(flatten)]
        contact: Contact,
        /// Read the token and the new password from two lines of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Replace it; all other sessions end.
    Change {
        /// Read the present password and the new one from two lines of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
}

/// See [`super::Command::Mfa`]. Codes, and the password to start with, are asked for, or read from
/// standard input.
#[derive(Subcommand)]
pub enum Mfa {
    /// Tell which second factors you have.
    Status,
    /// Make a secret for an authenticator app.
    Start,
    /// Prove that the app has it, and get recovery codes.
    Confirm,
    /// Make new recovery codes; the old ones are void.
    RecoveryCodes,
    /// Go without a second factor.
    Remove,
}

/// See [`super::Command::Identities`].
#[derive(Subcommand)]
pub enum Identities {
    /// List them, oldest first.
    List,
    /// Take one away: it signs you in no more. Sessions that it began go on.
    Unlink {
        /// The provider's name, or the id that the list tells.
        identity: String,
    },
}

/// See [`super::Command::ApiKeys`].
#[derive(Subcommand)]
pub enum ApiKeys {
    /// Make a key and print it, once.
    Add {
        /// What it is for.
        name: String,
        /// After how many days it ends. Default: never.
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u16>,
        /// Permit this only, such as `vault:read`; can be repeated. Default: all that you may do.
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// List your keys.
    List,
    /// End a key.
    Revoke {
        /// As the list tells it.
        id: uuid::Uuid,
    },
}
