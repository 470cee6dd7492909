//! `keyferry keys`.

use clap::{Args, Subcommand, ValueEnum};

/// See [`super::Command::Keys`].
#[derive(Subcommand)]
pub enum Keys {
    /// Store a new key; its value is asked for, or read from standard input.
    Put(PutKey),
    /// List the keys, without their values.
    List,
    /// Show one key and its versions.
    Show(KeyName),
    /// Give a key a new value; it reaches the machines at once.
    Rotate(RotateKey),
    /// Destroy a key's value, here and in every machine.
    Revoke(KeyName),
    /// Revoke a key and forget it.
    Delete(KeyName),
}

/// One key.
#[derive(Args)]
pub struct KeyName {
    /// 1 to 64 letters, digits, `-`, `_`, `.`.
    pub(crate) name: keyferry_protocol::ids::KeyName,
}

/// See [`Keys::Put`].
#[derive(Args)]
pub struct PutKey {
    #[command(flatten)]
    pub(crate) key: KeyName,
    /// Whose key it is. Default: told by the name, else `custom`.
    #[arg(long, value_enum)]
    pub(crate) provider: Option<Provider>,
    /// Let tools read the value itself; else it can only be used through the agent.
    #[arg(long)]
    pub(crate) raw: bool,
    /// Deliver to this machine only (name or id); can be repeated. Default: to all.
    #[arg(long = "vm", value_name = "VM")]
    pub(crate) vms: Vec<String>,
    /// Wipe it after this long without contact to the server: 900, 15m, 1h.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) lease: Option<u32>,
    /// Use it only toward this host; can be repeated. Default: the provider's hosts.
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allowed_hosts: Vec<String>,
}

/// See [`Keys::Rotate`].
#[derive(Args)]
pub struct RotateKey {
    #[command(flatten)]
    pub(crate) key: KeyName,
    /// Keep the old value deliverable for this long: 60, 5m, 1h.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "0")]
    pub(crate) overlap: u32,
}

/// Presets of hosts.
#[derive(Clone, Copy, ValueEnum)]
pub enum Provider {
    /// api.openai.com
    Openai,
    /// api.anthropic.com
    Anthropic,
    /// generativelanguage.googleapis.com
    Google,
    /// api.groq.com
    Groq,
    /// Any other.
    Custom,
}

/// A time as whole seconds, or with a unit: `90`, `90s`, `15m`, `12h`, `1d`.
fn seconds(text: &str) -> Result<u32, &'static str> {
    const WRONG: &str = "a time is a number, alone or with s, m, h or d: 900, 15m, 1h";
    let digits = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let unit = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        Some("d") => 86_400,
        _ => return Err(WRONG),
    };
    digits
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or(WRONG)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("1d"), Ok(86_400));
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        for wrong in ["", "m", "-1", "1.5h", "1mm", "99999999999", "9999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
