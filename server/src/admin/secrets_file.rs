//! A settings file with fresh secrets, for `init`.

use std::path::Path;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use zeroize::Zeroizing;

use super::Failure;
use super::draft::Draft;

/// What became of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Written,
    /// It was there, and the secrets that it left empty are in it now.
    Filled,
    AsItWas,
}

/// A setting and its secret.
type Named = (&'static str, Zeroizing<String>);

/// Writes the file, or fills what one that is there leaves empty. A data folder that has a master
/// key goes on with that.
pub(super) fn write_secrets(path: &Path, data_dir: &Path) -> Result<Kept, Failure> {
    let form = Form::of(path);
    let secrets = secrets(form, data_dir);
    if path.exists() {
        return fill(path, form, &secrets);
    }
    let mut text = Zeroizing::new(String::with_capacity(2_048));
    text.push_str(
        "# Made by `keyferry-server init`. Whoever has this file and the database has every key.\n",
    );
    if data_dir.join("master.key").exists() {
        text.push_str("# The master key is in the data folder.\n");
    }
    for (name, secret) in &secrets {
        form.add(&mut text, name, secret);
    }
    draft(path, &text)?.publish()?;
    Ok(Kept::Written)
}

fn secrets(form: Form, data_dir: &Path) -> Vec<Named> {
    let mut secrets = Vec::new();
    if !data_dir.join("master.key").exists() {
        secrets.push(("ENCRYPTION_KEY", padded()));
    }
    secrets.push(("JWT_SECRET_KEY", plain()));
    if form == Form::Env {
        // For docker-compose.yml alone; the server itself reads DATABASE_URL and REDIS_URL.
        secrets.push(("POSTGRES_PASSWORD", plain()));
        secrets.push(("REDIS_PASSWORD", plain()));
    }
    secrets
}

fn fill(path: &Path, form: Form, secrets: &[Named]) -> Result<Kept, Failure> {
    let failed = |cause| format!("cannot write {}: {cause}", path.display());
    let before = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    let mut text = Zeroizing::new(String::with_capacity(before.len() + 2_048));
    let mut kept = Kept::AsItWas;
    for line in before.lines() {
        match secrets.iter().find(|(name, _)| is_left_empty(line, name)) {
            Some((name, secret)) => {
                form.add(&mut text, name, secret);
                kept = Kept::Filled;
            }
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    if kept == Kept::Filled {
        draft(path, &text)?.replace().map_err(failed)?;
    }
    Ok(kept)
}

fn is_left_empty(line: &str, name: &str) -> bool {
    line.split_once('=').is_some_and(|(setting, value)| {
        setting.trim().eq_ignore_ascii_case(name) && ["", "''", "\"\""].contains(&value.trim())
    })
}

fn draft(path: &Path, text: &str) -> Result<Draft, Failure> {
    let draft = Draft::of(path)?;
    // Not through a buffer, which nobody would wipe.
    draft.write(text.as_bytes())?;
    Ok(draft)
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
