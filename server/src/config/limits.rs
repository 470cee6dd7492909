//! How often anyone may try.

use std::time::Duration;

use super::names::{
    ENABLE_ACCOUNT_LOCKOUT, ENABLE_RATE_LIMITING, ENROLMENTS_PER_HOUR, INVITATIONS_PER_HOUR,
    LOCKOUT_MINUTES, MAILS_PER_HOUR, MAX_ACCOUNT_FAILURES, MAX_FAILED_ATTEMPTS, REFRESHES_PER_HOUR,
    REGISTRATIONS_PER_HOUR,
};
use super::parse::{number, unless_off, wrong};
use super::{ConfigError, Sources};
use crate::limits::Quota;

/// The budgets. Without one there is no bound.
#[derive(Clone)]
pub(crate) struct LimitSettings {
    /// Failed logins of an address; as many in a row lock an account toward one network.
    pub(crate) failed_logins: Option<Quota>,
    /// Whether failures lock accounts; addresses are bounded all the same.
    pub(crate) account_lockout: bool,
    /// Failures from all networks together that lock an account.
    pub(crate) account_failures: u32,
    /// How long an account stays locked after the last failure.
    pub(crate) lockout: Duration,
    /// Refreshes of a user.
    pub(crate) refreshes: Option<Quota>,
    /// Registrations from an address.
    pub(crate) registrations: Option<Quota>,
    /// Mails that an address, or an account, makes the server send.
    pub(crate) mails: Option<Quota>,
    /// Agents of an address that ask to be approved.
    pub(crate) enrolments: Option<Quota>,
    /// Invitations from a tenant.
    pub(crate) invitations: Option<Quota>,
    /// Whether a tenant's plan bounds its requests.
    pub(crate) requests: bool,
}

impl LimitSettings {
    pub(super) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let minutes = number(sources, LOCKOUT_MINUTES, 15_u64, 1..=1_440)?;
        let lockout = Duration::from_secs(minutes * 60);
        let quota = |setting, default, per| {
            let most = number(sources, setting, default, 0..=1_000_000)?;
            Ok((most > 0).then(|| Quota::new(most, per)))
        };
        let failed_logins = quota(MAX_FAILED_ATTEMPTS, 5, lockout)?;
        let account_lockout = unless_off(sources, ENABLE_ACCOUNT_LOCKOUT)?;
        if account_lockout && failed_logins.is_none() {
            return Err(wrong(
                MAX_FAILED_ATTEMPTS,
                format!("0 would lock no account either: say {ENABLE_ACCOUNT_LOCKOUT}=false too"),
            ));
        }
        Ok(Self {
            failed_logins,
            account_lockout,
            account_failures: number(sources, MAX_ACCOUNT_FAILURES, 100, 10..=1_000_000)?,
            lockout,
            refreshes: quota(REFRESHES_PER_HOUR, 10, HOUR)?,
            registrations: quota(REGISTRATIONS_PER_HOUR, 3, HOUR)?,
            mails: quota(MAILS_PER_HOUR, 3, HOUR)?,
            enrolments: quota(ENROLMENTS_PER_HOUR, 60, HOUR)?,
            invitations: quota(INVITATIONS_PER_HOUR, 50, HOUR)?,
            requests: unless_off(sources, ENABLE_RATE_LIMITING)?,
        })
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::{HOUR, LimitSettings, Quota, Sources};

    #[test]
    fn zero_means_no_bound() {
        let sources = Sources::from_pairs([("AUTH_REFRESHES_PER_HOUR", "0")]);
        let limits = LimitSettings::parse(&sources).unwrap();
        assert_eq!(limits.refreshes, None);
        assert_eq!(limits.registrations, Some(Quota::new(3, HOUR)));
        assert_eq!(limits.failed_logins, Some(Quota::new(5, HOUR / 4)));
    }

    #[test]
    fn lockout_is_not_switched_off_by_the_way() {
        let no_failures = ("AUTH_MAX_FAILED_ATTEMPTS", "0");
        let sources = Sources::from_pairs([no_failures]);
        let refused = LimitSettings::parse(&sources).err().unwrap();
        assert!(
            refused.to_string().contains("AUTH_ENABLE_ACCOUNT_LOCKOUT"),
            "{refused}"
        );
        let said = ("AUTH_ENABLE_ACCOUNT_LOCKOUT", "false");
        let limits = LimitSettings::parse(&Sources::from_pairs([no_failures, said])).unwrap();
        assert_eq!(limits.failed_logins, None);
    }
}
