//! A wall clock that a story can move, for one program (libfaketime). What measures spans of time
//! goes on unmoved, as on a machine whose clock is set.

use std::path::{Path, PathBuf};

use crate::Stage;

/// The clock that a program looks at.
pub struct WallClock {
    library: String,
    /// How many seconds it is ahead of the true time.
    ahead: String,
}

impl WallClock {
    /// One that is right. Fails where libfaketime is not installed.
    pub fn right(stage: &Stage) -> Self {
        let clock = Self {
            library: library().display().to_string(),
            ahead: stage.path("ahead").display().to_string(),
        };
        clock.set_ahead(0);
        clock
    }

    /// What a program is told that is to look at it.
    pub fn settings(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.ahead),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }

    /// Sets it so many seconds ahead of the true time, or behind it.
    pub fn set_ahead(&self, seconds: i64) {
        let written = format!("{}.new", self.ahead);
        std::fs::write(&written, format!("{seconds:+}")).unwrap();
        std::fs::rename(&written, &self.ahead).unwrap();
    }
}

fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let library = libraries.find(|path| Path::exists(path));
    library.expect("libfaketime is not installed: apt-get install libfaketime")
}
