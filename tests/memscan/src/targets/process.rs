//! The memory and the registers of a running process, frozen meanwhile.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use super::ptrace::Frozen;
use super::{BLOCK, scan_bytes};
use crate::{Matcher, Report};

/// Scans all mappings of `pid`, the registers of its threads, its arguments and environment.
///
/// Pages that the kernel shows to nobody (`memfd_secret`) are listed as unreadable.
pub fn scan_process(matcher: &Matcher, report: &mut Report, pid: i32) -> io::Result<()> {
    let frozen = Frozen::freeze(pid)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
    let tag = format!("{pid}:{}", name.trim());
    for (set, bytes) in frozen.registers()? {
        scan_bytes(matcher, report, &format!("{tag} {set} registers"), &bytes);
    }
    for small in ["environ", "cmdline"] {
        let bytes = fs::read(format!("/proc/{pid}/{small}"))?;
        scan_bytes(matcher, report, &format!("{tag} {small}"), &bytes);
    }
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let mapping = Mapping::parse(line).ok_or(io::ErrorKind::InvalidData)?;
        if !KERNEL_OWNED.contains(&mapping.name.as_str()) {
            mapping.scan(matcher, report, &tag, &memory);
        }
    }
    Ok(())
}

/// One line of `/proc/PID/maps`.
struct Mapping {
    start: u64,
    end: u64,
    permissions: String,
    name: String,
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let permissions = words.next()?.to_owned();
        let name = words.skip(3).collect::<Vec<_>>().join(" ");
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            permissions,
            name: if name.is_empty() {
                "[anonymous]".into()
            } else {
                name
            },
        })
    }

    fn scan(&self, matcher: &Matcher, report: &mut Report, tag: &str, memory: &File) {
        let place = format!("{tag} {} {}", self.name, self.permissions);
        let mut hits = Vec::new();
        let mut address = self.start;
        while address < self.end {
            let left = usize::try_from(self.end - address).unwrap_or(usize::MAX);
            let mut block = vec![0; left.min(BLOCK + matcher.overlap())];
            let own = left.min(BLOCK);
            let refused = read_pages(memory, address, &mut block, own);
            if refused > 0 {
                report.add_unreadable(place.clone(), refused);
            }
            if block.iter().any(|byte| *byte != 0) {
                hits.extend(matcher.scan(&block, own, address));
            }
            report.add_scanned(own);
            address += own as u64;
        }
        report.add(matcher, &place, hits);
    }
}

/// Fills `block` from `address` on; pages that cannot be read stay zero. Tells how many bytes of
/// the first `own` were refused.
fn read_pages(memory: &File, address: u64, block: &mut [u8], own: usize) -> u64 {
    if memory.read_exact_at(block, address).is_ok() {
        return 0;
    }
    let mut refused = 0;
    for (number, page) in block.chunks_mut(PAGE).enumerate() {
        let offset = number * PAGE;
        if memory.read_exact_at(page, address + offset as u64).is_err() {
            page.fill(0);
            refused += if offset < own { page.len() as u64 } else { 0 };
        }
    }
    refused
}

/// Pages of the kernel that hold clocks, not the program's data.
const KERNEL_OWNED: [&str; 4] = ["[vvar]", "[vvar_vclock]", "[vsyscall]", "[vdso]"];
const PAGE: usize = 4096;
