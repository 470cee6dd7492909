//! The folder in which one story plays, with everything that its programs write.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Database, Engine};

/// Declare it first in a story: what is declared later ends earlier.
pub struct Stage {
    folder: TempDir,
    database: Option<Database>,
}

impl Stage {
    /// An empty folder, and an empty database where the engine needs one.
    pub async fn new(engine: Engine) -> Self {
        let database = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(Database::create().await),
        };
        Self::with(database)
    }

    /// The same with a PostgreSQL of its own, which the story may kill and pause.
    pub async fn with_own_postgres() -> Self {
        Self::with(Some(Database::create_alone().await))
    }

    fn with(database: Option<Database>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("keyferry-story-")
            .tempdir()
            .unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        Self { folder, database }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A place in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where programs may put temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.path("tmp")
    }

    /// The server's data.
    pub fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// The database, unless it is a file among the server's data.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }
}
