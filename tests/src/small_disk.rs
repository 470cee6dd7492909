//! A small disk for the embedded database, in the mount namespace that this program was started in.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;

use crate::Stage;

/// It can be filled up. It ends with the namespace.
pub struct SmallDisk {
    ballast: PathBuf,
}

impl SmallDisk {
    /// Of so many megabytes, where the server has its data folder.
    pub fn mount(stage: &Stage, megabytes: u32) -> Self {
        let folder = stage.data_dir();
        std::fs::create_dir_all(&folder).unwrap();
        let size = format!("size={megabytes}m,mode=700");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(&folder);
        assert!(mount.status().unwrap().success());
        Self {
            ballast: folder.join("ballast"),
        }
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::create(&self.ballast).unwrap();
        loop {
            match ballast.write(&[0; 4096]) {
                Ok(1..) => {}
                Ok(0) => return,
                Err(full) if full.kind() == ErrorKind::StorageFull => return,
                Err(other) => panic!("the disk cannot be filled: {other}"),
            }
        }
    }

    /// Makes room again.
    pub fn empty(&self) {
        std::fs::remove_file(&self.ballast).unwrap();
    }
}
