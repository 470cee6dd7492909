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
    for mapping in mappings(&fs::read_to_string(format!("/proc/{pid}/smaps"))?) {
        if !KERNEL_OWNED.contains(&mapping.name.as_str()) {
            mapping.scan(matcher, report, &tag, &memory);
        }
    }
    Ok(())
}

/// A stretch of memory, as `/proc/PID/smaps` shows it.
struct Mapping {
    start: u64,
    end: u64,
    permissions: String,
    name: String,
    /// Kept out of swap and of core dumps, as secrets should be.
    guarded: bool,
}

fn mappings(smaps: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        if let (Some(flags), Some(last)) = (line.strip_prefix("VmFlags:"), mappings.last_mut()) {
            let has = |wanted| flags.split_whitespace().any(|flag| flag == wanted);
            last.guarded = has("lo") && has("dd");
        }
        mappings.extend(Mapping::parse(line));
    }
    mappings
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
            guarded: false,
        })
    }

    fn scan(&self, matcher: &Matcher, report: &mut Report, tag: &str, memory: &File) {
        let guarded = if self.guarded { GUARDED } else { "" };
        let place = format!("{tag} {} {}{guarded}", self.name, self.permissions);
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

/// The end of the name of a place that is locked and left out of dumps.
pub const GUARDED: &str = " guarded";
/// Pages of the kernel that hold clocks, not the program's data.
const KERNEL_OWNED: [&str; 4] = ["[vvar]", "[vvar_vclock]", "[vsyscall]", "[vdso]"];
const PAGE: usize = 4096;
