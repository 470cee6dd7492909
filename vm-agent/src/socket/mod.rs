//! The Unix socket: who is there, what may they have, and the conversation.

mod connection;
mod listen;
mod peer;
mod policy;

pub use connection::{ConnectionError, converse};
pub use listen::{BindError, bind, listen, open_to_all};
pub use peer::Peer;
pub(crate) use peer::is_alive;
pub use policy::Policy;
