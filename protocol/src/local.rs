//! What a tool and the agent say to each other over the Unix socket, in bytes.
//!
//! ```text
//! frame    length u32 | type u8 | body          length counts type and body, at most 64 KiB
//! -> 1     Hello     version u16
//! -> 2     Open      delivery u8, name
//! -> 3     Status
//! <- 129   Welcome   version u16, protection u8
//! <- 130   Page      version u32, name          with one descriptor by SCM_RIGHTS
//! <- 131   Refused   code u8, rule, advice
//! <- 132   Status    JSON
//! <- 133   Changed   version u32, state u8, name
//! <- 134   Proxied   port u16, name, provider, token
//! ```
//!
//! Integers are big-endian, texts are UTF-8 behind a u16 length. Answers come in the order of the
//! requests; `Changed` comes at any time. No message carries a key: keys travel in the page alone. A token
//! stands for a key at the agent's proxy, for one user and while one process lives.

mod codec;

use codec::{Fields, Frame};

use crate::ids::KeyName;
use crate::memory::{PageState, ProtectionLevel};

/// The version of this protocol that `Hello` and `Welcome` name.
pub const VERSION: u16 = 1;

/// The most bytes that a frame may hold behind its length.
pub const MAX_FRAME: usize = 64 * 1024;

/// What a tool asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Opens the conversation, once.
    Hello {
        /// The newest version that the tool speaks.
        version: u16,
    },
    /// Asks for a key.
    Open {
        /// Which key.
        name: KeyName,
        /// How it is to come.
        delivery: Delivery,
    },
    /// Asks how the agent is.
    Status,
}

/// How a tool wants to use a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As a page that it maps.
    Page,
    /// Put into its requests by the agent's proxy, never seen by the tool.
    Inject,
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Answers `Hello`.
    Welcome {
        /// The version that both speak from here.
        version: u16,
        /// How well this machine protects the keys.
        protection: ProtectionLevel,
    },
    /// Answers `Open`; the page's descriptor comes with it.
    Page {
        /// Which key.
        name: KeyName,
        /// The version that the page held when it was sent.
        version: u32,
    },
    /// Answers anything that is not granted.
    Refused(Refusal),
    /// Answers `Status`, with a JSON object.
    Status(Vec<u8>),
    /// A page that this tool holds has changed.
    Changed {
        /// Which key.
        name: KeyName,
        /// The newest version that the page held.
        version: u32,
        /// What the page holds now.
        state: PageState,
    },
    /// Answers `Open` of a key that is used through the proxy.
    Proxied {
        /// The proxy's port on 127.0.0.1.
        port: u16,
        /// Which key.
        name: KeyName,
        /// The provider preset: `openai`, `custom`, ...
        provider: String,
        /// What stands for the key, in requests to the proxy.
        token: String,
    },
}

/// Why a request is refused, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code, for programs.
    pub code: RefusalCode,
    /// The rule that said no; empty when it was none.
    pub rule: String,
    /// What a person can do.
    pub advice: String,
}

/// The stable codes of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalCode {
    /// The agent holds no such key.
    NotFound = 1,
    /// A rule of the agent's policy forbids it.
    NotPermitted = 2,
    /// The key's owner lets it be used through the proxy alone.
    InjectOnly = 3,
    /// The owner has withdrawn the key.
    Revoked = 4,
    /// The agent lost its server for longer than the lease, and wiped.
    LeaseOver = 5,
    /// The agent has not reached its server yet.
    NotConnected = 6,
    /// A bound is reached.
    Busy = 7,
    /// The request makes no sense here.
    BadRequest = 8,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The length is zero or above the bound.
    #[error("a frame of {0} bytes is not allowed")]
    Length(u32),
    /// The message type is unknown in this direction.
    #[error("unknown message type {0}")]
    Type(u8),
    /// The body ends early or runs on, or a field has no such value.
    #[error("malformed message")]
    Malformed,
}

/// A frame's payload, and how many bytes the frame takes in all.
pub type Split<'a> = (&'a [u8], usize);

/// Splits the first whole frame off `bytes`; `None` until it is whole.
pub fn split_frame(bytes: &[u8]) -> Result<Option<Split<'_>>, LocalError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let announced = u32::from_be_bytes(*prefix);
    let length = usize::try_from(announced).map_err(|_| LocalError::Length(announced))?;
    if length == 0 || length > MAX_FRAME {
        return Err(LocalError::Length(announced));
    }
    Ok(rest.get(..length).map(|payload| (payload, 4 + length)))
}

impl Request {
    /// Reads the payload of a frame.
    pub fn parse(payload: &[u8]) -> Result<Self, LocalError> {
        let mut fields = Fields(payload);
        let request = match fields.byte()? {
            1 => Self::Hello {
                version: fields.u16()?,
            },
            2 => {
                let delivery = delivery_of(fields.byte()?)?;
                Self::Open {
                    name: fields.name()?,
                    delivery,
                }
            }
            3 => Self::Status,
            other => return Err(LocalError::Type(other)),
        };
        fields.end()?;
        Ok(request)
    }

    /// The whole frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { version } => Frame::new(1).bytes(&version.to_be_bytes()),
            Self::Open { name, delivery } => {
                let delivery = match delivery {
                    Delivery::Page => 1,
                    Delivery::Inject => 2,
                };
                Frame::new(2).bytes(&[delivery]).text(name.as_str())
            }
            Self::Status => Frame::new(3),
        }
        .finish()
    }
}

impl Reply {
    /// Reads the payload of a frame.
    pub fn parse(payload: &[u8]) -> Result<Self, LocalError> {
        let mut fields = Fields(payload);
        let reply = match fields.byte()? {
            129 => Self::Welcome {
                version: fields.u16()?,
                protection: level_of(fields.byte()?)?,
            },
            130 => {
                let version = fields.u32()?;
                Self::Page {
                    name: fields.name()?,
                    version,
                }
            }
            131 => Self::Refused(Refusal {
                code: RefusalCode::of(fields.byte()?)?,
                rule: fields.text()?.to_owned(),
                advice: fields.text()?.to_owned(),
            }),
            132 => Self::Status(fields.rest().to_vec()),
            133 => {
                let version = fields.u32()?;
                let state = state_of(fields.byte()?)?;
                Self::Changed {
                    name: fields.name()?,
                    version,
                    state,
                }
            }
            134 => Self::Proxied {
                port: fields.u16()?,
                name: fields.name()?,
                provider: fields.text()?.to_owned(),
                token: fields.text()?.to_owned(),
            },
            other => return Err(LocalError::Type(other)),
        };
        fields.end()?;
        Ok(reply)
    }

    /// The whole frame. A report that is too long for one is cut, and then is no JSON.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Welcome {
                version,
                protection,
            } => Frame::new(129)
                .bytes(&version.to_be_bytes())
                .bytes(&[protection.code()]),
            Self::Page { name, version } => Frame::new(130)
                .bytes(&version.to_be_bytes())
                .text(name.as_str()),
            Self::Refused(refusal) => {
                let code = refusal.code as u8;
                Frame::new(131)
                    .bytes(&[code])
                    .text(&refusal.rule)
                    .text(&refusal.advice)
            }
            Self::Status(json) => Frame::new(132).bytes(json),
            Self::Changed {
                name,
                version,
                state,
            } => Frame::new(133)
                .bytes(&version.to_be_bytes())
                .bytes(&[*state as u8])
                .text(name.as_str()),
            Self::Proxied {
                port,
                name,
                provider,
                token,
            } => Frame::new(134)
                .bytes(&port.to_be_bytes())
                .text(name.as_str())
                .text(provider)
                .text(token),
        }
        .finish()
    }
}

impl RefusalCode {
    /// Every code, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::NotFound,
        Self::NotPermitted,
        Self::InjectOnly,
        Self::Revoked,
        Self::LeaseOver,
        Self::NotConnected,
        Self::Busy,
        Self::BadRequest,
    ];

    /// The code as programs and logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NotPermitted => "not_permitted",
            Self::InjectOnly => "inject_only",
            Self::Revoked => "revoked",
            Self::LeaseOver => "lease_over",
            Self::NotConnected => "not_connected",
            Self::Busy => "busy",
            Self::BadRequest => "bad_request",
        }
    }

    fn of(byte: u8) -> Result<Self, LocalError> {
        Self::ALL
            .into_iter()
            .find(|code| *code as u8 == byte)
            .ok_or(LocalError::Malformed)
    }
}

fn delivery_of(byte: u8) -> Result<Delivery, LocalError> {
    match byte {
        1 => Ok(Delivery::Page),
        2 => Ok(Delivery::Inject),
        _ => Err(LocalError::Malformed),
    }
}

fn level_of(byte: u8) -> Result<ProtectionLevel, LocalError> {
    ProtectionLevel::from_code(byte).ok_or(LocalError::Malformed)
}

fn state_of(byte: u8) -> Result<PageState, LocalError> {
    match byte {
        0 => Ok(PageState::Empty),
        1 => Ok(PageState::Live),
        2 => Ok(PageState::Revoked),
        3 => Ok(PageState::LeaseOver),
        _ => Err(LocalError::Malformed),
    }
}

#[cfg(test)]
mod tests;
