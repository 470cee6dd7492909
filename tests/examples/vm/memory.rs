//! Where in the machine's memory a secret is, and whose page that is.

use std::collections::BTreeSet;
use std::path::Path;

use keyferry_tests::Secret;
use memscan::{Finding, Report, scan_file};

use crate::shell::Shell;

/// Everything that was found of these secrets in a file, down to fragments of eight bytes.
pub(crate) fn search(path: &Path, secrets: &[&Secret]) -> Report {
    let mut report = Report::default();
    scan_file(&Secret::matcher(secrets), &mut report, path).unwrap();
    report
}

/// Fails unless one secret was found, exactly `copies` times, whole, and in these pages.
pub(crate) fn assert_only_in(pages: &BTreeSet<u64>, found: &Report, copies: usize) {
    assert_eq!(found.findings().count(), 1, "{found}");
    for it in found.findings() {
        let Finding { whole, count, .. } = &it;
        assert!(
            *whole && *count == copies,
            "{count} copies, wanted {copies}: {found}"
        );
        for page in it.addresses.iter().map(|address| address / PAGE) {
            assert!(
                pages.contains(&page),
                "page {page:#x} is no secret page: {found}"
            );
        }
    }
}

/// The physical pages of all `memfd_secret` mappings of a process, as the machine's kernel tells.
pub(crate) fn secret_pages(shell: &mut Shell, pid: &str) -> BTreeSet<u64> {
    let maps = shell.run(&format!("grep secretmem /proc/{pid}/maps"));
    let mut pages = BTreeSet::new();
    for line in maps.lines() {
        let range = line.split(' ').next().unwrap_or_default();
        let (begin, end) = range.split_once('-').unwrap();
        let [begin, end] = [begin, end].map(|it| u64::from_str_radix(it, 16).unwrap() / PAGE);
        let count = end - begin;
        let entries = shell.run(&format!(
            "dd if=/proc/{pid}/pagemap bs=8 skip={begin} count={count} status=none | \
             od -An -v -w8 -tx8"
        ));
        for entry in entries.split_whitespace() {
            let entry = u64::from_str_radix(entry, 16).unwrap();
            if entry & PRESENT != 0 {
                pages.insert(entry & FRAME);
            }
        }
    }
    assert!(
        !pages.is_empty(),
        "process {pid} has no secret page: {maps}"
    );
    pages
}

const PAGE: u64 = 4096;
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;
