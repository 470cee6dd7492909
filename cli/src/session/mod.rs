//! Who is signed in here: a file that only its owner can read.

mod file;
mod renew;
mod tokens;

pub(crate) use file::SessionFile;
pub(crate) use renew::{SignedIn, send};
pub(crate) use tokens::Session;
