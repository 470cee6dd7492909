//! Files and folders, names included.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{BLOCK, scan_bytes};
use crate::{Matcher, Report};

/// Scans one file.
pub fn scan_file(matcher: &Matcher, report: &mut Report, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let place = path.display().to_string();
    let mut block = Vec::with_capacity(BLOCK + matcher.overlap());
    let (mut base, mut hits) = (0, Vec::new());
    loop {
        let wanted = (BLOCK + matcher.overlap() - block.len()) as u64;
        let read = Read::by_ref(&mut file)
            .take(wanted)
            .read_to_end(&mut block)?;
        let last = (read as u64) < wanted;
        let own = if last { block.len() } else { BLOCK };
        hits.extend(matcher.scan(&block, own, base));
        report.add_scanned(own);
        block.drain(..own);
        base += own as u64;
        if last {
            report.add(matcher, &place, hits);
            return Ok(());
        }
    }
}

/// Scans the names and contents of everything below `folder`, on its own file system only.
///
/// What vanishes meanwhile is passed over; what cannot be read is an error.
pub fn scan_tree(matcher: &Matcher, report: &mut Report, folder: &Path) -> io::Result<()> {
    let device = fs::metadata(folder)?.dev();
    scan_below(matcher, report, folder, device)
}

fn scan_below(matcher: &Matcher, report: &mut Report, folder: &Path, dev: u64) -> io::Result<()> {
    let Some(entries) = unless_gone(fs::read_dir(folder))? else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        let Some(metadata) = unless_gone(fs::symlink_metadata(&path))? else {
            continue;
        };
        let name = format!("name of {}", path.display());
        scan_bytes(matcher, report, &name, path.as_os_str().as_encoded_bytes());
        if metadata.is_dir() && metadata.dev() == dev {
            scan_below(matcher, report, &path, dev)?;
        } else if metadata.is_file() {
            unless_gone(scan_file(matcher, report, &path))?;
        }
    }
    Ok(())
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
