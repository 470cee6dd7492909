//! What the owner of a key demands of its use in a machine.

use super::codec::{Fields, Malformed, Sink};

/// Who may use a key, and how much of it. The machine's own rules count as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPolicy {
    /// One of these has to fit the tool; none for whatever the machine's rules say.
    pub tools: Vec<ToolRule>,
    /// How much may go through the agent's proxy.
    pub budget: Budget,
}

/// What a tool has to be. All that is named has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolRule {
    /// Its user.
    pub uid: Option<u32>,
    /// A group of it.
    pub gid: Option<u32>,
    /// The path of its program, at most 255 bytes.
    pub exe: Option<String>,
    /// The SHA-256 of its program's file.
    pub sha256: Option<[u8; 32]>,
}

/// How much one machine may use a key. Zero is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Requests in a minute.
    pub requests_per_minute: u32,
    /// Requests on a day of UTC.
    pub requests_per_day: u32,
    /// Bytes in both directions, on a day of UTC.
    pub bytes_per_day: u64,
}

/// Whether a program, of which path and hash are known, is the one that is named by one of them or
/// both. Where neither is named, any is, known or not.
pub fn is_program(
    (exe, sha256): (Option<&str>, Option<&[u8; 32]>),
    program: Option<(&str, &[u8; 32])>,
) -> bool {
    let Some((path, hash)) = program else {
        return exe.is_none() && sha256.is_none();
    };
    exe.is_none_or(|exe| exe == path) && sha256.is_none_or(|sha256| sha256 == hash)
}

impl KeyPolicy {
    pub(super) fn write(&self, sink: &mut dyn Sink) {
        let tools = self.tools.iter().take(MOST_TOOLS);
        sink.byte(u8::try_from(tools.len()).unwrap_or(u8::MAX));
        tools.for_each(|tool| tool.write(sink));
        sink.u32(self.budget.requests_per_minute);
        sink.u32(self.budget.requests_per_day);
        sink.u64(self.budget.bytes_per_day);
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let count = fields.byte()?;
        if usize::from(count) > MOST_TOOLS {
            return Err(Malformed("too many tools"));
        }
        let tools = (0..count).map(|_| ToolRule::read(fields));
        let tools = tools.collect::<Result<_, _>>()?;
        let budget = Budget {
            requests_per_minute: fields.u32()?,
            requests_per_day: fields.u32()?,
            bytes_per_day: fields.u64()?,
        };
        Ok(Self { tools, budget })
    }
}

impl ToolRule {
    /// Whether it asks which program a tool runs.
    #[must_use]
    pub fn names_a_program(&self) -> bool {
        self.exe.is_some() || self.sha256.is_some()
    }

    /// Whether what it says of user and group fits these.
    pub fn fits_user(&self, (uid, groups): (u32, &[u32])) -> bool {
        self.uid.is_none_or(|wanted| wanted == uid)
            && self.gid.is_none_or(|gid| groups.contains(&gid))
    }

    /// Whether what it says of the program fits this one, of which path and hash are known.
    pub fn fits_program(&self, program: Option<(&str, &[u8; 32])>) -> bool {
        is_program((self.exe.as_deref(), self.sha256.as_ref()), program)
    }

    fn write(&self, sink: &mut dyn Sink) {
        let named = [
            (self.uid.is_some(), UID),
            (self.gid.is_some(), GID),
            (self.exe.is_some(), EXE),
            (self.sha256.is_some(), SHA256),
        ];
        let flags = named.iter().filter(|(is, _)| *is).map(|(_, flag)| flag);
        sink.byte(flags.sum());
        self.uid.into_iter().for_each(|uid| sink.u32(uid));
        self.gid.into_iter().for_each(|gid| sink.u32(gid));
        self.exe.iter().for_each(|exe| sink.text(exe));
        self.sha256.iter().for_each(|sha256| sink.bytes(sha256));
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let flags = fields.byte()?;
        if flags == 0 || flags > UID + GID + EXE + SHA256 {
            return Err(Malformed("a tool is named in an unknown way"));
        }
        let has = |flag: u8| flags & flag != 0;
        let mut rule = Self::default();
        if has(UID) {
            rule.uid = Some(fields.u32()?);
        }
        if has(GID) {
            rule.gid = Some(fields.u32()?);
        }
        if has(EXE) {
            rule.exe = Some(fields.text()?.to_owned());
        }
        if has(SHA256) {
            rule.sha256 = Some(fields.array()?);
        }
        Ok(rule)
    }
}

const UID: u8 = 1;
const GID: u8 = 2;
const EXE: u8 = 4;
const SHA256: u8 = 8;
/// Rules that one key can have.
pub const MOST_TOOLS: usize = 16;
