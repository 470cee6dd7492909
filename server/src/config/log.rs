//! How the log is written.

use super::names::LOG_FORMAT;
use super::parse::wrong;
use super::{ConfigError, Sources};

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    People,
    /// One JSON object a line.
    Programs,
}

impl LogFormat {
    pub(crate) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        match sources.text(LOG_FORMAT) {
            None | Some("human") => Ok(Self::People),
            Some("json") => Ok(Self::Programs),
            Some(_) => Err(wrong(LOG_FORMAT, "must be human or json")),
        }
    }
}
