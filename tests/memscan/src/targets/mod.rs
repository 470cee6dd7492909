//! The places that can be scanned.

mod files;
mod process;
mod ptrace;

pub use files::{scan_file, scan_tree};
pub use process::{GUARDED, scan_process};

use crate::{Matcher, Report};

/// Scans bytes that are at hand as one place.
fn scan_bytes(matcher: &Matcher, report: &mut Report, place: &str, bytes: &[u8]) {
    report.add_scanned(bytes.len());
    report.add(matcher, place, matcher.scan(bytes, bytes.len(), 0));
}

/// How much is read at a time.
const BLOCK: usize = 1 << 20;
