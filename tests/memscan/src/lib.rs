//! Finds planted secrets in memory, registers and files, whole or as fragments, in many encodings.
//!
//! A test plants a fresh random [`Sentinel`], lets the programs work, and asks where it can still
//! be read. Every such test also asks about a [`hold`](hold::hold)ing process, which must be found.

mod encodings;
pub mod hold;
mod matcher;
mod report;
mod targets;

pub use matcher::{Matcher, Sentinel};
pub use report::{Finding, Report};
pub use targets::{GUARDED, scan_file, scan_process, scan_tree};
