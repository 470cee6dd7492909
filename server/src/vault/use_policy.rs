//! Which tools may use a key, and how much: the part of a policy that agents enforce.

use keyferry_protocol::wire::{self, KeyPolicy, MOST_TOOLS};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::FieldError;
use crate::whole_number;

/// What a tool has to be. All that is named has to fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tool {
    /// Its user.
    #[serde(
        default,
        deserialize_with = "whole_number::optional",
        skip_serializing_if = "Option::is_none"
    )]
    uid: Option<u32>,
    /// A group of it.
    #[serde(
        default,
        deserialize_with = "whole_number::optional",
        skip_serializing_if = "Option::is_none"
    )]
    gid: Option<u32>,
    /// The path of its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/"), length(max = 255))]
    exe: Option<String>,
    /// The SHA-256 of its program's file, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    sha256: Option<String>,
}

/// How much each VM may use a key. What is not named is not bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    /// Requests in a minute.
    #[serde(default, deserialize_with = "whole_number::optional")]
    #[schemars(range(min = 1))]
    requests_per_minute: Option<u32>,
    /// Requests on a day of UTC.
    #[serde(default, deserialize_with = "whole_number::optional")]
    #[schemars(range(min = 1))]
    requests_per_day: Option<u32>,
    /// Bytes in both directions, on a day of UTC.
    #[serde(default, deserialize_with = "whole_number::optional")]
    #[schemars(range(min = 1))]
    bytes_per_day: Option<u64>,
}

/// What an agent is told.
pub(crate) fn told(tools: &[Tool], budget: Budget) -> KeyPolicy {
    KeyPolicy {
        tools: tools.iter().map(Tool::told).collect(),
        budget: wire::Budget {
            requests_per_minute: budget.requests_per_minute.unwrap_or(0),
            requests_per_day: budget.requests_per_day.unwrap_or(0),
            bytes_per_day: budget.bytes_per_day.unwrap_or(0),
        },
    }
}

/// What is wrong with them.
pub(super) fn faults(tools: &[Tool], budget: Budget) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    if tools.len() > MOST_TOOLS {
        wrong.push(FieldError::new(
            "policy.tools",
            "at most 16 tools can be named",
        ));
    }
    if !tools.iter().all(Tool::is_sound) {
        let detail = "each names a uid, a gid, an exe (an absolute path of at most 255 bytes) or a \
                      sha256 (64 hexadecimal digits)";
        wrong.push(FieldError::new("policy.tools", detail));
    }
    let zero = [budget.requests_per_minute, budget.requests_per_day].contains(&Some(0));
    if zero || budget.bytes_per_day == Some(0) {
        let detail = "is at least 1; revoke the key, or cut the VM off, to end its use";
        wrong.push(FieldError::new("policy.budget", detail));
    }
    wrong
}

impl Tool {
    fn is_sound(&self) -> bool {
        let named = self.uid.is_some() || self.gid.is_some() || self.exe.is_some();
        let path = |exe: &String| exe.starts_with('/') && exe.len() <= 255 && !exe.contains('\0');
        (named || self.sha256.is_some())
            && self.exe.as_ref().is_none_or(path)
            && self.sha256.as_ref().is_none_or(|hex| digest(hex).is_some())
    }

    fn told(&self) -> wire::ToolRule {
        wire::ToolRule {
            uid: self.uid,
            gid: self.gid,
            exe: self.exe.clone(),
            sha256: self.sha256.as_deref().and_then(digest),
        }
    }
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, place) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(place..place + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(text: &str) -> Tool {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_tool_is_told_as_it_is_named() {
        let hex = "0F".repeat(32);
        let tools = [
            tool(r#"{"uid": 1000, "exe": "/usr/bin/curl"}"#),
            tool(&format!(r#"{{"sha256": "{hex}"}}"#)),
            tool(r#"{"uid": 1000.0, "gid": 1e3}"#),
        ];
        let budget = serde_json::from_str(r#"{"requests_per_day": 9}"#).unwrap();
        assert_eq!(faults(&tools, budget), []);
        let told = told(&tools, budget);
        assert_eq!(told.tools[0].exe.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(told.tools[1].sha256, Some([15; 32]));
        assert_eq!(
            (told.tools[2].uid, told.tools[2].gid),
            (Some(1000), Some(1000))
        );
        assert_eq!(
            (told.budget.requests_per_day, told.budget.bytes_per_day),
            (9, 0)
        );
    }

    #[test]
    fn a_tool_that_names_nothing_or_nonsense_is_refused() {
        for text in [
            "{}",
            r#"{"exe": "curl"}"#,
            r#"{"sha256": "0f"}"#,
            r#"{"uid": 1, "sha256": "zz"}"#,
        ] {
            assert_eq!(faults(&[tool(text)], Budget::default()).len(), 1, "{text}");
        }
        let zero = serde_json::from_str(r#"{"bytes_per_day": 0}"#).unwrap();
        assert_eq!(faults(&[], zero)[0].field, "policy.budget");
    }
}
