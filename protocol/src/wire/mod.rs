//! What agent and server say to each other inside the channel: PROTOCOL.md §6.
//!
//! ```text
//!  type[1]  length[4]  body[length]  zeros to a multiple of 256
//! ```
//!
//! Integers are big-endian; a text is its length in one byte and then UTF-8. Messages are built in
//! locked memory and read from it: a value is never copied on the way.

mod codec;
mod key_policy;
mod to_agent;
mod to_server;

pub use codec::Malformed;
pub use key_policy::{Budget, KeyPolicy, MOST_TOOLS, ToolRule, is_program};
pub use to_agent::{Accept, Delivery, MOST_USED, Put, ToAgent, Used};
pub use to_server::{Access, AccessKind, Held, Outcome, ToServer};
