//! A settings file with fresh secrets, for `init`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use zeroize::Zeroizing;

use super::Failure;

/// What became of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Written,
    AsItWas,
}

/// Writes the file, unless it is there. A data folder that has a master key goes on with that.
pub(super) fn write_secrets(path: &Path, data_dir: &Path) -> Result<Kept, Failure> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => return Ok(Kept::AsItWas),
        Err(cause) => return Err(format!("cannot write {}: {cause}", path.display()).into()),
    };
    let form = Form::of(path);
    let mut text = Zeroizing::new(String::with_capacity(2_048));
    text.push_str(
        "# Made by `keyferry-server init`. Whoever has this file and the database has every key.\n",
    );
    if data_dir.join("master.key").exists() {
        text.push_str("# The master key is in the data folder.\n");
    } else {
        form.add(&mut text, "ENCRYPTION_KEY", &padded());
    }
    form.add(&mut text, "JWT_SECRET_KEY", &plain());
    if form == Form::Env {
        // For docker-compose.yml alone; the server itself reads DATABASE_URL and REDIS_URL.
        form.add(&mut text, "POSTGRES_PASSWORD", &plain());
        form.add(&mut text, "REDIS_PASSWORD", &plain());
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(Kept::Written)
}

/// How a file writes its settings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Env,
    Toml,
}

impl Form {
    fn of(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension == "toml" => Self::Toml,
            _ => Self::Env,
        }
    }

    fn add(self, text: &mut String, name: &str, secret: &str) {
        let parts = match self {
            Self::Env => [name, "=", secret, "\n"],
            Self::Toml => [&name.to_lowercase(), " = '", secret, "'\n"],
        };
        parts.iter().for_each(|part| text.push_str(part));
    }
}

/// 32 bytes as the master key is written.
fn padded() -> Zeroizing<String> {
    Zeroizing::new(Base64::encode_string(&*fresh()))
}

/// 32 bytes in letters that fit into a URL.
fn plain() -> Zeroizing<String> {
    Zeroizing::new(Base64UrlUnpadded::encode_string(&*fresh()))
}

fn fresh() -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    UnwrapErr(SysRng).fill_bytes(&mut *bytes);
    bytes
}
