//! The folder that holds what must outlive the process, and that nobody else may read.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;
use zeroize::Zeroizing;

/// A folder of mode 0700 with files of mode 0600.
#[derive(Clone)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// Makes the folder when it is not there, and closes it to others when it is.
    pub(crate) fn prepare(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        refuse_for_root(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
        Ok(Self(path.to_owned()))
    }

    /// The folder as it is.
    pub(crate) fn existing(path: &Path) -> io::Result<Self> {
        fs::read_dir(path).map(|_| Self(path.to_owned()))
    }

    /// The same for a look, whether or not it is there.
    pub(crate) fn as_it_is(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    pub(crate) fn read(&self, name: &str) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut file = File::open(self.0.join(name))?;
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        let mut bytes = Zeroizing::new(Vec::with_capacity(len + 1));
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes a file that must not be there yet.
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.create(name, bytes)?;
        self.sync()
    }

    /// Writes a file wholly or, after a crash, not at all.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace(name, bytes)
            .or_else(|cause| match cause.kind() {
                // Whoever clears dead drafts away came before this one was locked.
                io::ErrorKind::NotFound => self.replace(name, bytes),
                _ => Err(cause),
            })
    }

    /// Removes the drafts of writers that were killed, and tells how many.
    pub(crate) fn clear_dead_drafts(&self) -> io::Result<usize> {
        let mut cleared = 0;
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_str().is_some_and(is_draft) || !entry.file_type()?.is_file() {
                continue;
            }
            let own = entry.metadata()?.uid() == rustix::process::geteuid().as_raw();
            // One that is being written is locked.
            if own && File::open(entry.path())?.try_lock().is_ok() {
                fs::remove_file(entry.path())?;
                cleared += 1;
            }
        }
        Ok(cleared)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // Several may write the same file at once, even from other hosts.
        let draft = format!("{name}{DRAFT}{}", Uuid::new_v4().simple());
        let written = self.create(&draft, bytes).and_then(|_locked| {
            fs::rename(self.0.join(&draft), self.0.join(name))?;
            self.sync()
        });
        if written.is_err() {
            // What failed for want of room must not take the rest of it.
            let _ = fs::remove_file(self.0.join(&draft));
        }
        written
    }

    /// A new file, locked as long as it is kept.
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<File> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.0.join(name))?;
        file.lock()?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(file)
    }

    /// Makes durable which files there are.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    /// Keeps out everybody else who asks for it, until it is dropped.
    pub(crate) fn lock(&self) -> io::Result<File> {
        let folder = File::open(&self.0)?;
        folder.lock()?;
        Ok(folder)
    }
}

/// What root writes, the server's own user could not read any more.
fn refuse_for_root(path: &Path) -> io::Result<()> {
    let owner = fs::metadata(path)?.uid();
    if owner == 0 || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let path = path.display();
    let problem = format!("{path} belongs to the user {owner}: run this by `sudo -u '#{owner}'`");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

fn is_draft(name: &str) -> bool {
    let unique = name.rsplit_once(DRAFT).filter(|(of, _)| !of.is_empty());
    unique.is_some_and(|(_, unique)| {
        unique.len() == 32 && unique.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

const DRAFT: &str = ".new-";

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::DataDir;

    #[test]
    fn nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let data_dir = DataDir::prepare(&path).unwrap();
        data_dir.write("secret", b"hush").unwrap();
        let mode =
            |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("secret")), 0o600);
        assert_eq!(**data_dir.read("secret").unwrap(), *b"hush");
    }

    #[test]
    fn root_does_not_write_into_the_folder_of_another_user() {
        let folder = tempfile::tempdir().unwrap();
        DataDir::prepare(folder.path()).unwrap();
        // Only root can give a folder away.
        if chown(folder.path(), Some(1), None).is_err() {
            return;
        }
        let refused = DataDir::prepare(folder.path()).err().unwrap();
        assert!(refused.to_string().contains("sudo -u '#1'"), "{refused}");
    }

    #[test]
    fn many_writers_of_one_file_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::prepare(folder.path()).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let (data_dir, text) = (&data_dir, [b'0' + writer; 4_096]);
                scope.spawn(move || {
                    for _ in 0..20 {
                        data_dir.write("shared", &text).unwrap();
                    }
                });
            }
        });
        let text = data_dir.read("shared").unwrap();
        assert_eq!(text.len(), 4_096);
        assert!(text.iter().all(|byte| *byte == text[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::prepare(folder.path()).unwrap();
        fs::create_dir(folder.path().join("taken")).unwrap();
        data_dir.write("taken", b"text").unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    #[test]
    fn drafts_of_the_dead_are_cleared_away_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::prepare(folder.path()).unwrap();
        let draft = |of: &str, number: u8| folder.path().join(format!("{of}.new-{number:032x}"));
        for (of, number) in [("epoch", 1), ("a.eml", 2)] {
            fs::write(draft(of, number), b"half").unwrap();
        }
        let alive = draft("epoch", 3);
        let writing = File::create(&alive).unwrap();
        writing.lock().unwrap();
        fs::create_dir(draft("folder", 4)).unwrap();
        symlink(&alive, draft("link", 5)).unwrap();
        for other in ["epoch", "epoch.new-1", "epoch.new-", "notes.new-of-mine"] {
            fs::write(folder.path().join(other), b"kept").unwrap();
        }
        assert_eq!(data_dir.clear_dead_drafts().unwrap(), 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 7);
        assert!(!draft("epoch", 1).exists() && !draft("a.eml", 2).exists());
        drop(writing);
        assert_eq!(data_dir.clear_dead_drafts().unwrap(), 1);
    }
}
