//! A file that gets its name when it is whole.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::Failure;

/// What is written so far, beside the place that it is for. Dropped, it is gone.
pub(super) struct Draft {
    file: File,
    draft: PathBuf,
    name: PathBuf,
}

impl Draft {
    /// A draft of a file that is not there yet.
    pub(super) fn of_new(name: &Path) -> Result<Self, Failure> {
        match name.exists() {
            true => Err(taken_already(name)),
            false => Self::of(name),
        }
    }

    /// An empty draft of one's own: what somebody who was killed has left of it is gone.
    pub(super) fn of(name: &Path) -> Result<Self, Failure> {
        let draft = name.with_added_extension("part");
        let cannot = |cause| format!("cannot write {}: {cause}", draft.display());
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&draft)
            .map_err(cannot)?;
        if file.try_lock().is_err() || !is_still(&file, &draft) {
            return Err(format!(
                "another command that writes {} is under way",
                name.display()
            )
            .into());
        }
        if file.metadata()?.uid() != geteuid().as_raw() {
            return Err(format!("{} is somebody else's", draft.display()).into());
        }
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(cannot)?;
        file.set_len(0).map_err(cannot)?;
        Ok(Self {
            file,
            name: name.to_owned(),
            draft,
        })
    }

    /// Writes into it at once.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }

    /// What writes into it; to be flushed before it is published.
    pub(super) fn writer(&self) -> io::Result<BufWriter<File>> {
        Ok(BufWriter::new(self.file.try_clone()?))
    }

    /// Gives it its name, if nothing else got it meanwhile, and waits until the disk knows.
    pub(super) fn publish(self) -> Result<(), Failure> {
        self.file.sync_all()?;
        match renameat_with(CWD, &self.draft, CWD, &self.name, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => return Err(taken_already(&self.name)),
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS) if !self.name.exists() => {
                std::fs::rename(&self.draft, &self.name)?;
            }
            other => other?,
        }
        Ok(self.settle()?)
    }

    /// The same in the place of what has the name.
    pub(super) fn replace(self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.draft, &self.name)?;
        self.settle()
    }

    fn settle(&self) -> io::Result<()> {
        let folder = self.name.parent();
        let folder = folder.filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Under its name by now, or of no use to anybody.
        if is_still(&self.file, &self.draft) {
            let _ = std::fs::remove_file(&self.draft);
        }
    }
}

/// Whether nobody has published or removed it since it was opened.
fn is_still(file: &File, draft: &Path) -> bool {
    let same = |ours: std::fs::Metadata, there: std::fs::Metadata| {
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    };
    let ours = file.metadata();
    let there = std::fs::symlink_metadata(draft);
    ours.is_ok_and(|ours| there.is_ok_and(|there| same(ours, there)))
}

fn taken_already(file: &Path) -> Failure {
    format!("{} is there already", file.display()).into()
}
