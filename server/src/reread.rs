//! What is made from files, and made again when they have changed.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tracing::{info, warn};

/// Something that is made from files.
pub(crate) struct Reread<T> {
    files: Vec<PathBuf>,
    make: Make<T>,
    made: Mutex<Made<T>>,
}

type Make<T> = Box<dyn Fn() -> Result<T, Box<dyn Error + Send + Sync>> + Send + Sync>;

struct Made<T> {
    /// When the files were written that it was made from.
    from: Vec<Option<SystemTime>>,
    value: T,
}

impl<T: Clone> Reread<T> {
    /// Makes it for the first time.
    pub(crate) fn new<E>(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E>
    where
        E: Error + Send + Sync + 'static,
    {
        let from = written(&files);
        let value = make()?;
        Ok(Self {
            files,
            make: Box::new(move || Ok(make()?)),
            made: Mutex::new(Made { from, value }),
        })
    }

    /// As the files have it now. When something is wrong with them, what they had before.
    pub(crate) fn latest(&self) -> T {
        let now = written(&self.files);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.from != now {
            made.from = now;
            match (self.make)() {
                Ok(value) => {
                    made.value = value;
                    info!(files = ?self.files, "read again, since they have changed");
                }
                Err(cause) => {
                    warn!(files = ?self.files, %cause, "they have changed and cannot be used; what they said before still counts");
                }
            }
        }
        made.value.clone()
    }
}

/// When each file was last written; nothing for one that is not there.
pub(crate) fn written<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Vec<Option<SystemTime>> {
    let one = |path: &PathBuf| path.metadata().and_then(|about| about.modified()).ok();
    files.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::Reread;

    fn write(path: &Path, (text, second): (&str, u64)) {
        std::fs::write(path, text).unwrap();
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(written).unwrap();
    }

    #[test]
    fn it_is_made_again_when_its_file_changes_and_kept_while_the_file_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        write(&path, ("1", 1));
        let from = path.clone();
        let make = move || {
            std::fs::read_to_string(&from)
                .unwrap_or_default()
                .parse::<u8>()
        };
        let number = Reread::new(vec![path.clone()], make).unwrap();
        assert_eq!(number.latest(), 1);
        write(&path, ("2", 2));
        assert_eq!(number.latest(), 2);
        write(&path, ("none", 3));
        assert_eq!(number.latest(), 2);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(number.latest(), 2);
        // One that is put back may be older.
        write(&path, ("4", 1));
        assert_eq!(number.latest(), 4);
    }
}
