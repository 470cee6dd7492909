//! The Redis that several servers share.

use std::path::PathBuf;
use std::sync::Arc;

use super::names::{REDIS_CA_FILE, REDIS_URL};
use super::parse::wrong;
use super::{ConfigError, Sources};
use crate::cache::Source;

/// None when this server does without.
pub(super) fn source(sources: &Sources) -> Result<Option<Arc<Source>>, ConfigError> {
    let Some(url) = sources.text(REDIS_URL) else {
        return Ok(None);
    };
    let ca_file = sources.text(REDIS_CA_FILE).map(PathBuf::from);
    let source = Source::parse(url, ca_file).map_err(|form| wrong(REDIS_URL, form))?;
    Ok(Some(Arc::new(source)))
}
