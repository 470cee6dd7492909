//! Who may have which key.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use keyferry_protocol::ids::KeyName;
use serde::Deserialize;

/// Who may have which key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// Users that may have any key, beside the agent's own and root.
    pub uids: Vec<u32>,
    /// Groups that may have any key, beside the socket's.
    pub gids: Vec<u32>,
    /// Starts a helper that tells programs apart, for rules that name one.
    pub identify_programs: bool,
    /// Where a service manager starts that helper, instead of the agent.
    pub programs_socket: Option<PathBuf>,
    /// Rules for single keys: they stand instead of everything above.
    pub keys: BTreeMap<Named, KeyRule>,
}

impl PolicyConfig {
    /// Whether any rule, or the setting, asks which program a tool runs.
    pub fn tells_programs_apart(&self) -> bool {
        let named = |rule: &KeyRule| !rule.programs.is_empty();
        let asked = self.identify_programs || self.programs_socket.is_some();
        asked || self.keys.values().any(named)
    }
}

/// A key's name: one that no key can have would leave a key without its rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Named(pub KeyName);

impl TryFrom<String> for Named {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let name = text.parse().map(Self);
        name.map_err(|_| {
            format!("`{text}` is no name of a key: 1 to 64 letters, digits, -, _ or .")
        })
    }
}

impl Borrow<KeyName> for Named {
    fn borrow(&self) -> &KeyName {
        &self.0
    }
}

/// Who may have one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyRule {
    /// These users.
    pub uids: Vec<u32>,
    /// Members of these groups.
    pub gids: Vec<u32>,
    /// Only these programs; alone, of any user that may connect.
    pub programs: Vec<ProgramRule>,
}

/// One program. What is named has to fit, and something has to be named.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenProgram")]
pub struct ProgramRule {
    /// Its path.
    pub exe: Option<String>,
    /// The SHA-256 of its file.
    pub sha256: Option<Sha256Hex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProgram {
    exe: Option<String>,
    sha256: Option<Sha256Hex>,
}

impl TryFrom<WrittenProgram> for ProgramRule {
    type Error = &'static str;

    fn try_from(WrittenProgram { exe, sha256 }: WrittenProgram) -> Result<Self, Self::Error> {
        if exe.is_none() && sha256.is_none() {
            return Err("a rule for a program names its exe or its sha256");
        }
        Ok(Self { exe, sha256 })
    }
}

/// 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Sha256Hex(pub [u8; 32]);

impl TryFrom<String> for Sha256Hex {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "a sha256 is 64 hexadecimal digits";
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        let mut digest = [0; 32];
        for (byte, place) in digest.iter_mut().zip((0..64).step_by(2)) {
            let digits = text.get(place..place + 2).ok_or(WRONG)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| WRONG)?;
        }
        Ok(Self(digest))
    }
}
