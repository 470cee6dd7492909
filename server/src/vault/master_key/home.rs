//! The data folder as the place where the server itself keeps its master key.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::MasterKeyError;
use super::root::RootKey;
use super::source::{FILE, NEXT, read_existing};
use crate::data_dir::DataDir;

/// Two files: the key, and the one that takes over. Servers and commands may share the folder.
pub(super) struct Home(DataDir);

impl Home {
    pub(super) fn new(data_dir: &DataDir) -> Self {
        Self(data_dir.clone())
    }

    /// Writes the key of the first start.
    pub(super) fn make(&self, key: &RootKey) -> Result<(), MasterKeyError> {
        // A file that is there already belongs to another server that is starting now.
        let written = self.0.write_new(FILE, &*key.print());
        written.map_err(self.fault(FILE))
    }

    /// Has a file hold the key that takes over, beside the one that it replaces.
    pub(super) fn keep(&self, new: &RootKey, old: Option<&RootKey>) -> Result<(), MasterKeyError> {
        let _alone = self.lock()?;
        if self.holds(FILE, new) || self.holds(NEXT, new) {
            return Ok(());
        }
        // An earlier change may have ended before its key was moved to its place.
        if old.is_some_and(|old| !self.holds(FILE, old) && self.holds(NEXT, old)) {
            self.rename()?;
        }
        let written = self.0.write(NEXT, &*new.print());
        written.map_err(self.fault(NEXT))
    }

    /// The key is the only one: the file holds it from now on.
    pub(super) fn settle(&self, key: &RootKey) -> Result<(), MasterKeyError> {
        let _alone = self.lock()?;
        if self.holds(FILE, key) {
            return Ok(());
        }
        if self.holds(NEXT, key) {
            return self.rename();
        }
        let written = self.0.write(FILE, &*key.print());
        written.map_err(self.fault(FILE))
    }

    fn holds(&self, name: &str, key: &RootKey) -> bool {
        let read = read_existing(&self.0.path().join(name), key.arena());
        read.is_ok_and(|read| read.id() == key.id())
    }

    fn rename(&self) -> Result<(), MasterKeyError> {
        let path = |name| self.0.path().join(name);
        let renamed = fs::rename(path(NEXT), path(FILE)).and_then(|()| self.0.sync());
        renamed.map_err(self.fault(FILE))
    }

    /// Between looking into a file and replacing it nobody else may.
    fn lock(&self) -> Result<File, MasterKeyError> {
        self.0.lock().map_err(self.fault(FILE))
    }

    fn fault(&self, name: &str) -> impl FnOnce(io::Error) -> MasterKeyError + use<> {
        let path: PathBuf = self.0.path().join(name);
        move |cause| MasterKeyError::File { path, cause }
    }
}
