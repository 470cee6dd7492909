//! What the owners' rules for tools see of this program.

use std::fs::File;
use std::io::{self, Read};
use std::sync::OnceLock;

use keyferry_protocol::wire::ToolRule;
use sha2::{Digest, Sha256};

/// This process: its user, its groups, and what it runs.
pub(super) struct Oneself {
    uid: u32,
    groups: Vec<u32>,
    /// Looked at when a rule asks for it first.
    program: OnceLock<Option<(String, [u8; 32])>>,
}

impl Oneself {
    pub(super) fn look() -> Self {
        let mut groups = vec![rustix::process::getegid().as_raw()];
        let further = rustix::process::getgroups().unwrap_or_default();
        groups.extend(further.into_iter().map(rustix::process::Gid::as_raw));
        Self {
            uid: rustix::process::geteuid().as_raw(),
            groups,
            program: OnceLock::new(),
        }
    }

    /// Whether the rules of a key's owner let it use the key; none let everybody.
    pub(super) fn is_let(&self, tools: &[ToolRule]) -> bool {
        tools.is_empty() || tools.iter().any(|rule| self.fits(rule))
    }

    fn fits(&self, rule: &ToolRule) -> bool {
        if !rule.fits_user((self.uid, &self.groups)) {
            return false;
        }
        let program = match rule.names_a_program() {
            true => self.program.get_or_init(|| program().ok()).as_ref(),
            false => None,
        };
        rule.fits_program(program.map(|(path, hash)| (path.as_str(), hash)))
    }
}

/// The file that runs, whatever stands at its path by now.
fn program() -> io::Result<(String, [u8; 32])> {
    let path = std::fs::read_link(OWN)?.into_os_string().into_string();
    let path = path.map_err(|_odd| io::ErrorKind::InvalidData)?;
    let (mut file, mut hasher) = (File::open(OWN)?, Sha256::new());
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((path, hasher.finalize().into())),
            read => hasher.update(piece.get(..read).unwrap_or_default()),
        }
    }
}

const OWN: &str = "/proc/self/exe";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_fit_by_user_group_and_program() {
        let own = Oneself::look();
        let (path, hash) = program().unwrap();
        let rule = ToolRule::default;
        let fitting = [
            ToolRule {
                uid: Some(own.uid),
                ..rule()
            },
            ToolRule {
                gid: Some(own.groups[0]),
                ..rule()
            },
            ToolRule {
                exe: Some(path.clone()),
                sha256: Some(hash),
                ..rule()
            },
        ];
        let other = [
            ToolRule {
                uid: Some(own.uid + 1),
                ..rule()
            },
            ToolRule {
                exe: Some("/usr/bin/other".to_owned()),
                ..rule()
            },
            ToolRule {
                exe: Some(path),
                sha256: Some([0; 32]),
                ..rule()
            },
        ];
        assert!(own.is_let(&[]));
        for (fits, other) in fitting.iter().zip(&other) {
            assert!(own.is_let(&[other.clone(), fits.clone()]));
            assert!(!own.is_let(std::slice::from_ref(other)));
        }
    }
}
