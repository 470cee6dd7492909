//! The session file: mode 0600, replaced in one step, and changed by one command at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use super::Session;
use crate::error::CliError;

/// Where the session is kept.
pub(crate) struct SessionFile {
    folder: PathBuf,
}

/// The file while no other command can change it.
pub(crate) struct Held<'a> {
    file: &'a SessionFile,
    _lock: File,
}

impl SessionFile {
    /// In this folder, which is made when something is stored.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The stored session. A file that others could read is not used.
    pub(crate) fn read(&self) -> Result<Option<Session>, CliError> {
        let path = self.path();
        let mode = match fs::metadata(&path) {
            Ok(metadata) => metadata.mode(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.fails(&error)),
        };
        if mode & 0o077 != 0 {
            return Err(self.wrong("others can read it; remove it and sign in again"));
        }
        let bytes = Zeroizing::new(fs::read(&path).map_err(|error| self.fails(&error))?);
        let session = Session::decode(&bytes);
        session
            .map(Some)
            .ok_or_else(|| self.wrong("it is damaged; remove it and sign in again"))
    }

    /// Stores a session in the place of the last one.
    pub(crate) fn write(&self, session: &Session) -> Result<(), CliError> {
        self.lock()?.write(session)
    }

    /// Forgets the session.
    pub(crate) fn remove(&self) -> Result<(), CliError> {
        let _held = self.lock()?;
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.fails(&error)),
            _ => Ok(()),
        }
    }

    /// Keeps other commands from changing the session until it is dropped.
    pub(crate) fn lock(&self) -> Result<Held<'_>, CliError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|error| self.fails(&error))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.folder.join("session.lock"))
            .map_err(|error| self.fails(&error))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| self.fails(&error.into()))?;
        Ok(Held {
            file: self,
            _lock: lock,
        })
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let fresh = self
            .folder
            .join(format!("session.{}.new", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&fresh, self.path()));
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&fresh);
        }
        written
    }

    fn path(&self) -> PathBuf {
        self.folder.join("session.json")
    }

    fn fails(&self, error: &io::Error) -> CliError {
        self.wrong(error.to_string())
    }

    fn wrong(&self, reason: impl Into<String>) -> CliError {
        CliError::SessionFile {
            path: self.path(),
            reason: reason.into(),
        }
    }
}

impl Held<'_> {
    /// Stores a session in the place of the last one.
    pub(crate) fn write(&self, session: &Session) -> Result<(), CliError> {
        let replaced = self.file.replace(&session.encode());
        replaced.map_err(|error| self.file.fails(&error))
    }
}
