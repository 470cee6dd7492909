//! What an agent says of itself in the third message. Not secret, and not trusted: shown to the
//! owner.

use super::HandshakeError;
use crate::memory::ProtectionLevel;

/// An agent's account of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The kernel's boot id: another one means the VM has restarted.
    pub boot_id: [u8; 16],
    /// The agent's version; at most 20 bytes of UTF-8 travel.
    pub agent_version: String,
    /// How its memory is protected.
    pub protection: ProtectionLevel,
    /// What it can do, a bit each.
    pub capabilities: u32,
}

impl Claims {
    /// It takes up a new static key of the server in a session.
    pub const TAKES_SERVER_KEYS: u32 = 1;
    /// It goes on with what was used of a day's budget before it was started.
    pub const TAKES_USAGE: u32 = 2;

    /// `boot_id[16], protection[1], capabilities[4], version length[1], version, zeros` to 64.
    pub(super) fn encode(&self) -> [u8; LENGTH] {
        let mut version = self.agent_version.as_str();
        while version.len() > LONGEST_VERSION {
            version = version
                .split_at(version.floor_char_boundary(version.len() - 1))
                .0;
        }
        let length = u8::try_from(version.len()).expect("a version is at most 20 bytes");
        let mut bytes = [0; LENGTH];
        let parts = self
            .boot_id
            .into_iter()
            .chain([self.protection.code()])
            .chain(self.capabilities.to_be_bytes())
            .chain([length])
            .chain(version.bytes());
        bytes
            .iter_mut()
            .zip(parts)
            .for_each(|(to, from)| *to = from);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HandshakeError> {
        Self::read(bytes).ok_or(HandshakeError::Payload)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
        let (boot_id, rest) = bytes.split_first_chunk::<16>()?;
        let (protection, rest) = rest.split_first()?;
        let (capabilities, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first()?;
        let length = usize::from(*length);
        if length > LONGEST_VERSION {
            return None;
        }
        let (version, padding) = rest.split_at_checked(length)?;
        padding.iter().all(|byte| *byte == 0).then_some(())?;
        Some(Self {
            boot_id: *boot_id,
            agent_version: str::from_utf8(version).ok()?.to_owned(),
            protection: ProtectionLevel::from_code(*protection)?,
            capabilities: u32::from_be_bytes(*capabilities),
        })
    }
}

/// Length of the payload in bytes.
pub(super) const LENGTH: usize = 64;
const LONGEST_VERSION: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(version: &str) -> Claims {
        Claims {
            boot_id: [7; 16],
            agent_version: version.to_owned(),
            protection: ProtectionLevel::MemfdSecret,
            capabilities: 0x0102_0304,
        }
    }

    #[test]
    fn claims_survive_the_wire() {
        for version in ["", "0.1.0", "12345678901234567890"] {
            assert_eq!(
                Claims::decode(&claims(version).encode()).unwrap(),
                claims(version)
            );
        }
    }

    #[test]
    fn a_long_version_is_cut_between_characters() {
        let decoded = Claims::decode(&claims("1234567890123456789\u{e9}x").encode()).unwrap();
        assert_eq!(decoded.agent_version, "1234567890123456789");
    }

    #[test]
    fn malformed_claims_are_refused() {
        let good = claims("0.1.0").encode();
        let change = |at: usize, to: u8| {
            let mut bytes = good;
            bytes[at] = to;
            Claims::decode(&bytes)
        };
        assert!(
            matches!(change(16, 9), Err(HandshakeError::Payload)),
            "unknown protection"
        );
        assert!(
            matches!(change(21, 42), Err(HandshakeError::Payload)),
            "version too long"
        );
        assert!(
            matches!(change(22, 0xff), Err(HandshakeError::Payload)),
            "version not UTF-8"
        );
        assert!(
            matches!(change(63, 1), Err(HandshakeError::Payload)),
            "padding not zero"
        );
        assert!(
            matches!(Claims::decode(&good[..63]), Err(HandshakeError::Payload)),
            "short"
        );
    }
}
