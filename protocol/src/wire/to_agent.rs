//! What the server tells an agent.

use super::KeyPolicy;
use super::codec::{Fields, Malformed, Sink, decode, encode};
use crate::agreement::PublicKey;
use crate::ids::{CredentialId, KeyName, SessionId, VmId};
use crate::memory::{Arena, LockedBox, MAX_VALUE, MemoryError};

/// One message to an agent. Secrets in it are borrowed from locked memory.
pub enum ToAgent<'a> {
    /// The first message after the handshake.
    Accept(Accept<'a>),
    /// A key to hold; a higher version takes the place of a lower one.
    Put(Put<'a>),
    /// Forget this version, whose overlap is over.
    Retire {
        /// Whose.
        key: KeyName,
        /// Which.
        version: u32,
    },
    /// Zero every version of this key now.
    Revoke {
        /// Which.
        key: KeyName,
    },
    /// Zero everything and end: this VM is cut off.
    Wipe,
    /// Keys may be held for this long from now. The first one follows the first batch of keys.
    Lease {
        /// How long.
        seconds: u32,
    },
    /// Go to another server; this one is stopping.
    Drain,
    /// From now on the server's static key is this one.
    ServerKey {
        /// The public half of the new `S`.
        key: PublicKey,
    },
    /// What the proxy of this VM has used today, whichever run of its agent it was. From then on in
    /// this session the agent says which accesses were requests.
    Used(Vec<Used>),
}

/// What was used of a key on this day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// The key.
    pub key: KeyName,
    /// Requests that were given it.
    pub requests: u64,
    /// Bytes in both directions.
    pub bytes: u64,
}

/// The server's welcome. The credential counts once the agent has answered `Ready`.
pub struct Accept<'a> {
    /// This session.
    pub session: SessionId,
    /// Who the agent is to the server.
    pub vm: VmId,
    /// How long keys may be held without contact.
    pub lease_seconds: u32,
    /// The credential for the next session.
    pub next_id: CredentialId,
    /// Its secret.
    pub next_secret: &'a [u8; 32],
}

/// How a tool may get at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Only the agent's proxy uses it; no tool ever sees it.
    Inject = 0,
    /// Tools may read it.
    Raw = 1,
}

/// A key on its way into an agent.
pub struct Put<'a> {
    /// Its name.
    pub key: KeyName,
    /// Its version.
    pub version: u32,
    /// When it ends, in Unix microseconds; 0 for never.
    pub not_after: u64,
    /// The provider preset: `openai`, `custom`, ...
    pub provider: &'a str,
    /// How tools may get at it.
    pub delivery: Delivery,
    /// Hosts that the proxy may send it to.
    pub allowed_hosts: Vec<&'a str>,
    /// Who may use it, and how much.
    pub policy: KeyPolicy,
    /// The key itself, at most 8 KiB.
    pub value: &'a [u8],
}

impl<'a> ToAgent<'a> {
    /// The message in locked memory, padded, ready to be sealed.
    pub fn encode(&self, arena: &Arena) -> Result<LockedBox, MemoryError> {
        encode(arena, self.kind(), |sink| self.write(sink))
    }

    /// Reads an opened message.
    pub fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let (kind, mut fields) = decode(message)?;
        let said = match kind {
            1 => Self::Accept(Accept::read(&mut fields)?),
            2 => Self::Put(Put::read(&mut fields)?),
            3 => Self::Retire {
                key: fields.key_name()?,
                version: fields.u32()?,
            },
            4 => Self::Revoke {
                key: fields.key_name()?,
            },
            5 => Self::Wipe,
            6 => Self::Lease {
                seconds: fields.u32()?,
            },
            7 => Self::Drain,
            8 => Self::ServerKey {
                key: PublicKey(fields.array()?),
            },
            9 => {
                let count = usize::from(fields.u16()?);
                if count > MOST_USED {
                    return Err(Malformed("too many keys were used"));
                }
                let used = (0..count).map(|_| Used::read(&mut fields));
                Self::Used(used.collect::<Result<_, _>>()?)
            }
            _ => return Err(Malformed("no such message to an agent")),
        };
        fields.end()?;
        Ok(said)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Accept(_) => 1,
            Self::Put(_) => 2,
            Self::Retire { .. } => 3,
            Self::Revoke { .. } => 4,
            Self::Wipe => 5,
            Self::Lease { .. } => 6,
            Self::Drain => 7,
            Self::ServerKey { .. } => 8,
            Self::Used(_) => 9,
        }
    }

    fn write(&self, sink: &mut dyn Sink) {
        match self {
            Self::Accept(accept) => accept.write(sink),
            Self::Put(put) => put.write(sink),
            Self::Retire { key, version } => {
                sink.text(key.as_str());
                sink.u32(*version);
            }
            Self::Revoke { key } => sink.text(key.as_str()),
            Self::Lease { seconds } => sink.u32(*seconds),
            Self::ServerKey { key } => sink.bytes(&key.0),
            Self::Used(used) => {
                let told = used.iter().take(MOST_USED);
                sink.u16(u16::try_from(told.len()).unwrap_or(u16::MAX));
                told.for_each(|used| used.write(sink));
            }
            Self::Wipe | Self::Drain => {}
        }
    }
}

impl<'a> Accept<'a> {
    fn write(&self, sink: &mut dyn Sink) {
        sink.bytes(&self.session.0);
        sink.bytes(&self.vm.0);
        sink.u32(self.lease_seconds);
        sink.bytes(&self.next_id.0);
        sink.bytes(self.next_secret);
    }

    fn read(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            session: SessionId(fields.array()?),
            vm: VmId(fields.array()?),
            lease_seconds: fields.u32()?,
            next_id: CredentialId(fields.array()?),
            next_secret: fields.take(32)?.try_into().expect("32 bytes were taken"),
        })
    }
}

impl<'a> Put<'a> {
    fn write(&self, sink: &mut dyn Sink) {
        sink.text(self.key.as_str());
        sink.u32(self.version);
        sink.u64(self.not_after);
        sink.text(self.provider);
        sink.byte(self.delivery as u8);
        let hosts = self.allowed_hosts.iter().take(usize::from(u8::MAX));
        sink.byte(u8::try_from(hosts.len()).unwrap_or(u8::MAX));
        hosts.for_each(|host| sink.text(host));
        self.policy.write(sink);
        sink.u16(u16::try_from(self.value.len()).unwrap_or(u16::MAX));
        sink.bytes(self.value);
    }

    fn read(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let key = fields.key_name()?;
        let version = fields.u32()?;
        let not_after = fields.u64()?;
        let provider = fields.text()?;
        let delivery = match fields.byte()? {
            0 => Delivery::Inject,
            1 => Delivery::Raw,
            _ => return Err(Malformed("no such delivery")),
        };
        let hosts = fields.byte()?;
        let allowed_hosts = (0..hosts)
            .map(|_| fields.text())
            .collect::<Result<_, _>>()?;
        let policy = KeyPolicy::read(fields)?;
        let length = usize::from(fields.u16()?);
        if length > MAX_VALUE {
            return Err(Malformed("the value is longer than 8 KiB"));
        }
        let value = fields.take(length)?;
        Ok(Self {
            key,
            version,
            not_after,
            provider,
            delivery,
            allowed_hosts,
            policy,
            value,
        })
    }
}

impl Used {
    fn write(&self, sink: &mut dyn Sink) {
        sink.text(self.key.as_str());
        sink.u64(self.requests);
        sink.u64(self.bytes);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            key: fields.key_name()?,
            requests: fields.u64()?,
            bytes: fields.u64()?,
        })
    }
}

/// As many keys as an agent holds.
pub const MOST_USED: usize = 256;
