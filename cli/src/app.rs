//! What a command may touch: the session file and the clock.

use std::path::PathBuf;

use time::OffsetDateTime;

use crate::error::CliError;
use crate::session::{SessionFile, SignedIn};

/// The surroundings of one command.
pub(crate) struct App {
    pub(crate) session_file: SessionFile,
    pub(crate) now: OffsetDateTime,
}

impl App {
    /// Takes them from the environment.
    pub(crate) fn from_environment() -> Result<Self, CliError> {
        let folder = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|it| it.is_absolute())
        };
        let folder = folder("XDG_CONFIG_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".config")))
            .ok_or(CliError::NoHome)?;
        let session_file = SessionFile::new(folder.join("keyferry"));
        Ok(Self {
            session_file,
            now: OffsetDateTime::now_utc(),
        })
    }

    /// The signed-in caller, or an error that says how to become one.
    pub(crate) async fn signed_in(&self) -> Result<SignedIn, CliError> {
        SignedIn::open(&self.session_file, self.now).await
    }

    /// The same, for a command that has been running for a while.
    pub(crate) async fn signed_in_now(&self) -> Result<SignedIn, CliError> {
        SignedIn::open(&self.session_file, OffsetDateTime::now_utc()).await
    }
}
