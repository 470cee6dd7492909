//! What becomes of the audit.

use std::time::Duration;

use super::names::{AUDIT_ANCHOR_SECONDS, AUDIT_RETENTION_DAYS};
use super::parse::number;
use super::{ConfigError, Sources};

/// How the audit is kept.
#[derive(Clone)]
pub(crate) struct AuditSettings {
    /// How long events are kept; for ever when none.
    pub(crate) retention: Option<Duration>,
    /// How often it is written down outside the database where the chains are.
    pub(crate) anchor_every: Duration,
}

impl AuditSettings {
    pub(super) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let days = number(sources, AUDIT_RETENTION_DAYS, 0_u64, 0..=36_500)?;
        let retention = (days > 0).then(|| Duration::from_secs(days * 86_400));
        let seconds = number(sources, AUDIT_ANCHOR_SECONDS, 30, 1..=3_600)?;
        Ok(Self {
            retention,
            anchor_every: Duration::from_secs(seconds),
        })
    }
}
