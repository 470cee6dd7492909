//! `keyferry keys`.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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
    /// Change where a key goes and what it may be used for; its value stays. What is not named
    /// stays too, but the parts of a budget are set together.
    Policy(ChangePolicy),
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
    #[command(flatten)]
    pub(crate) terms: Terms,
}

/// See [`Keys::Policy`].
#[derive(Args)]
pub struct ChangePolicy {
    #[command(flatten)]
    pub(crate) key: KeyName,
    /// Let tools read the value itself.
    #[arg(long)]
    pub(crate) raw: bool,
    /// Let it be used through the agent only.
    #[arg(long, conflicts_with = "raw")]
    pub(crate) inject: bool,
    /// Deliver it to all machines.
    #[arg(long, conflicts_with = "vms")]
    pub(crate) all_vms: bool,
    /// Use it toward its provider's own hosts.
    #[arg(long, conflicts_with = "allowed_hosts")]
    pub(crate) provider_hosts: bool,
    /// Let every tool use it that the machine's own rules admit.
    #[arg(long, conflicts_with = "tools")]
    pub(crate) any_tool: bool,
    /// Bound its use no more.
    #[arg(long)]
    pub(crate) no_budget: bool,
    #[command(flatten)]
    pub(crate) terms: Terms,
}

/// Where a key goes, and what it may be used for.
#[derive(Args)]
pub struct Terms {
    /// Deliver to this machine only (name or id); can be repeated. Default: to all.
    #[arg(long = "vm", value_name = "VM")]
    pub(crate) vms: Vec<String>,
    /// Wipe it after this long without contact to the server: 900, 15m, 1h.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) lease: Option<u32>,
    /// Give it to nobody after this: 2026-12-31 (from its first moment, in UTC),
    /// 2026-12-31T18:00:00Z, or `none`.
    #[arg(long, value_name = "DATE|none")]
    pub(crate) expires: Option<Expiry>,
    /// Use it only toward this host; can be repeated. Default: the provider's hosts.
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allowed_hosts: Vec<String>,
    /// Give it only to such a tool; can be repeated. Names any of uid, gid, exe and sha256, which
    /// all have to fit: `uid=1000,exe=/usr/bin/python3.13`. Default: every tool that the machine's
    /// own rules admit.
    #[arg(long = "tool", value_name = "WHAT=IS,...", value_parser = tool)]
    pub(crate) tools: Vec<serde_json::Value>,
    /// At most so many requests a minute from each machine.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) requests_per_minute: Option<u32>,
    /// At most so many requests on a day (of UTC) from each machine.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) requests_per_day: Option<u32>,
    /// At most so many bytes on a day (of UTC) from and to each machine.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) bytes_per_day: Option<u64>,
}

/// When a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Then.
    At(OffsetDateTime),
    /// Never.
    Never,
}

impl Expiry {
    /// As the server reads it; `null` for never.
    pub(crate) fn json(self) -> serde_json::Value {
        match self {
            Self::At(at) => at.format(&Rfc3339).ok().into(),
            Self::Never => serde_json::Value::Null,
        }
    }
}

impl FromStr for Expiry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::Never);
        }
        let midnight = || OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339);
        let at = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| midnight());
        at.map(Self::At)
            .map_err(|_| "is a time such as 2026-12-31 or 2026-12-31T18:00:00Z, or `none`")
    }
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

/// `uid=1000,exe=/usr/bin/curl` as the server wants it.
fn tool(text: &str) -> Result<serde_json::Value, String> {
    let mut tool = serde_json::Map::new();
    for part in text.split(',') {
        let (what, is) = part.split_once('=').ok_or_else(|| wrong_tool(part))?;
        let value = match what {
            "uid" | "gid" => is.parse::<u32>().map_err(|_| wrong_tool(part))?.into(),
            "exe" | "sha256" => is.into(),
            _ => return Err(wrong_tool(part)),
        };
        tool.insert(what.to_owned(), value);
    }
    Ok(tool.into())
}

fn wrong_tool(part: &str) -> String {
    format!("`{part}` is none of uid=NUMBER, gid=NUMBER, exe=PATH, sha256=HEX")
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
    use super::{Expiry, seconds, tool};

    #[test]
    fn a_key_ends_on_a_day_at_a_time_or_never() {
        let told = |text: &str| text.parse::<Expiry>().unwrap().json();
        assert_eq!(told("2026-12-31"), "2026-12-31T00:00:00Z");
        assert_eq!(
            told("2026-12-31T18:00:00+01:00"),
            "2026-12-31T18:00:00+01:00"
        );
        assert_eq!(told("none"), serde_json::Value::Null);
        for wrong in ["", "never", "2026-13-01", "30d"] {
            assert!(wrong.parse::<Expiry>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("1d"), Ok(86_400));
    }

    #[test]
    fn tools_are_named_by_what_they_are() {
        let named = tool("uid=1000,exe=/usr/bin/curl").unwrap();
        assert_eq!(
            named,
            serde_json::json!({ "uid": 1000, "exe": "/usr/bin/curl" })
        );
        for wrong in ["", "curl", "uid=ada", "path=/x"] {
            assert!(tool(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        for wrong in ["", "m", "-1", "1.5h", "1mm", "99999999999", "9999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
