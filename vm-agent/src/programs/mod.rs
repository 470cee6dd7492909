//! Which program a process runs: its path, and the SHA-256 of the very file that runs.
//!
//! ```text
//!  agent: Landlock, no capability ──"7 4711"──▶ helper: looks at /proc/4711/exe
//!         holds the keys          ◀─"7 ok HASH PATH"── knows no key
//! ```
//!
//! An agent under Landlock may not look at processes outside of it, so a helper of the same program
//! does, which was started before any secret was there.

mod ask;
mod look;

pub use ask::{Programs, Unidentified};
pub use look::answer_questions;

/// What a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where its file was when it was started; ` (deleted)` is behind it when it is no more there.
    pub path: String,
    /// Of the file's content.
    pub sha256: [u8; 32],
}
