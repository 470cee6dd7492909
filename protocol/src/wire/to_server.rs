//! What an agent tells its server.

use super::codec::{Fields, Malformed, Sink, decode, encode};
use crate::ids::{CredentialId, KeyName};
use crate::memory::{Arena, LockedBox, MemoryError, ProtectionLevel};

/// One message to the server. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToServer {
    /// The next credential is in locked memory: it may take the place of the last one.
    Ready {
        /// Which.
        credential: CredentialId,
    },
    /// A change was carried out.
    Ack {
        /// Whose.
        key: KeyName,
        /// Which version; 0 for all of them.
        version: u32,
        /// What became of it.
        outcome: Outcome,
    },
    /// Everything that is held, after each batch of changes.
    Held(Held),
    /// Local accesses since the last batch.
    Audit(Vec<Access>),
    /// The agent is stopping and has wiped everything.
    Bye,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The version is in locked memory.
    Held = 1,
    /// It is zeroed, in every page that was handed out.
    Wiped = 2,
    /// It could not be held: no locked memory was left.
    Refused = 3,
}

/// What an agent holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// How it is protected.
    pub protection: ProtectionLevel,
    /// Keys with the version held; at most 512 are told.
    pub keys: Vec<(KeyName, u32)>,
}

/// Accesses of one local user to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The key.
    pub key: KeyName,
    /// The version, 0 when none was given out.
    pub version: u32,
    /// The user of the calling process.
    pub uid: u32,
    /// When the last of them was, in Unix microseconds of the VM's clock.
    pub at: u64,
    /// How many.
    pub count: u32,
    /// Bytes sent to the key's hosts meanwhile.
    pub sent: u64,
    /// Bytes received from them.
    pub received: u64,
    /// What it was.
    pub kind: AccessKind,
}

/// What an access was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessKind {
    /// It was not permitted, or the key was gone.
    Refused = 0,
    /// A page or a token was given out; from an agent that does not tell these apart, maybe a
    /// request.
    Opened = 1,
    /// A request of the proxy was given the key. Only said where the server has said `Used`.
    Requested = 2,
}

impl ToServer {
    /// The message in locked memory, padded, ready to be sealed.
    pub fn encode(&self, arena: &Arena) -> Result<LockedBox, MemoryError> {
        encode(arena, self.kind(), |sink| self.write(sink))
    }

    /// Reads an opened message.
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let (kind, mut fields) = decode(message)?;
        let said = match kind {
            1 => Self::Ready {
                credential: CredentialId(fields.array()?),
            },
            2 => Self::Ack {
                key: fields.key_name()?,
                version: fields.u32()?,
                outcome: Outcome::read(&mut fields)?,
            },
            3 => Self::Held(Held::read(&mut fields)?),
            4 => {
                let count = bounded(fields.u16()?)?;
                Self::Audit(
                    (0..count)
                        .map(|_| Access::read(&mut fields))
                        .collect::<Result<_, _>>()?,
                )
            }
            5 => Self::Bye,
            _ => return Err(Malformed("no such message to a server")),
        };
        fields.end()?;
        Ok(said)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Ready { .. } => 1,
            Self::Ack { .. } => 2,
            Self::Held(_) => 3,
            Self::Audit(_) => 4,
            Self::Bye => 5,
        }
    }

    fn write(&self, sink: &mut dyn Sink) {
        match self {
            Self::Ready { credential } => sink.bytes(&credential.0),
            Self::Ack {
                key,
                version,
                outcome,
            } => {
                sink.text(key.as_str());
                sink.u32(*version);
                sink.byte(*outcome as u8);
            }
            Self::Held(held) => held.write(sink),
            Self::Audit(accesses) => {
                let told = accesses.iter().take(MOST);
                sink.u16(u16::try_from(told.len()).unwrap_or(u16::MAX));
                told.for_each(|access| access.write(sink));
            }
            Self::Bye => {}
        }
    }
}

impl Outcome {
    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        match fields.byte()? {
            1 => Ok(Self::Held),
            2 => Ok(Self::Wiped),
            3 => Ok(Self::Refused),
            _ => Err(Malformed("no such outcome")),
        }
    }
}

impl Held {
    fn write(&self, sink: &mut dyn Sink) {
        sink.byte(self.protection.code());
        let told = self.keys.iter().take(MOST);
        sink.u16(u16::try_from(told.len()).unwrap_or(u16::MAX));
        for (key, version) in told {
            sink.text(key.as_str());
            sink.u32(*version);
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let protection = ProtectionLevel::from_code(fields.byte()?)
            .ok_or(Malformed("no such protection level"))?;
        let count = bounded(fields.u16()?)?;
        let keys = (0..count).map(|_| Ok((fields.key_name()?, fields.u32()?)));
        Ok(Self {
            protection,
            keys: keys.collect::<Result<_, Malformed>>()?,
        })
    }
}

impl Access {
    fn write(&self, sink: &mut dyn Sink) {
        sink.text(self.key.as_str());
        sink.u32(self.version);
        sink.u32(self.uid);
        sink.u64(self.at);
        sink.u32(self.count);
        sink.u64(self.sent);
        sink.u64(self.received);
        sink.byte(self.kind as u8);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            key: fields.key_name()?,
            version: fields.u32()?,
            uid: fields.u32()?,
            at: fields.u64()?,
            count: fields.u32()?,
            sent: fields.u64()?,
            received: fields.u64()?,
            kind: match fields.byte()? {
                0 => AccessKind::Refused,
                1 => AccessKind::Opened,
                2 => AccessKind::Requested,
                _ => return Err(Malformed("no such access")),
            },
        })
    }
}

fn bounded(count: u16) -> Result<u16, Malformed> {
    if usize::from(count) > MOST {
        Err(Malformed("too many entries"))
    } else {
        Ok(count)
    }
}

/// Entries in one message: with names of 64 bytes they fit in 64 KiB.
const MOST: usize = 512;
