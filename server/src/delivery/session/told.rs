//! What an agent has been told, compared with what it may have.

use std::collections::{BTreeMap, BTreeSet};

use keyferry_protocol::ids::KeyName;

use crate::metrics;
use crate::store::{DeliverableVersion, ProviderKeyId, UnixTime, VmId};
use crate::vault::policy::{DEFAULT_LEASE, Policy};

/// A key that a VM may have now.
pub(super) struct Wanted {
    pub(super) name: KeyName,
    pub(super) provider: String,
    pub(super) policy: Policy,
    /// The version to give out.
    pub(super) current: u32,
    /// Every version that may still be held: the current one, and those in their overlap.
    holdable: BTreeSet<u32>,
}

/// Everything that a VM may have now.
#[derive(Default)]
pub(super) struct Allowed {
    pub(super) keys: BTreeMap<ProviderKeyId, Wanted>,
    /// When the next overlap or key ends.
    pub(super) changes_at: Option<UnixTime>,
}

/// A row that this version of the server cannot read.
#[derive(Debug, thiserror::Error)]
#[error("the stored key {0} has an unreadable {1}")]
pub(super) struct Unreadable(String, &'static str);

impl Allowed {
    /// Adds what the policies leave of some of the tenant's keys.
    pub(super) fn extend(
        &mut self,
        rows: Vec<DeliverableVersion>,
        vm: VmId,
        now: UnixTime,
    ) -> Result<(), Unreadable> {
        for row in rows {
            let policy: Policy = serde_json::from_str(&row.policy)
                .map_err(|_| Unreadable(row.name.clone(), "policy"))?;
            if policy.admits(vm, now) {
                self.add(row, policy)?;
            }
        }
        Ok(())
    }

    /// The shortest lease of all keys, in seconds.
    pub(super) fn lease(&self) -> u32 {
        let leases = self.keys.values().map(|key| key.policy.lease_seconds);
        leases.min().unwrap_or(DEFAULT_LEASE)
    }

    fn add(&mut self, row: DeliverableVersion, policy: Policy) -> Result<(), Unreadable> {
        let fault = |what| Unreadable(row.name.clone(), what);
        let number = |version: i64| u32::try_from(version).map_err(|_| fault("version"));
        let (version, current) = (number(row.version)?, number(row.current_version)?);
        let name = row.name.parse().map_err(|_| fault("name"))?;
        let ends = [row.retire_at, policy.expires_at].into_iter().flatten();
        self.changes_at = self.changes_at.into_iter().chain(ends).min();
        let holdable = BTreeSet::new();
        let provider = row.provider;
        let wanted = Wanted {
            name,
            provider,
            policy,
            current,
            holdable,
        };
        self.keys
            .entry(row.id)
            .or_insert(wanted)
            .holdable
            .insert(version);
        Ok(())
    }
}

/// One thing to tell an agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Forget the key.
    Revoke { key: ProviderKeyId, name: KeyName },
    /// Hold this version.
    Put { key: ProviderKeyId, version: u32 },
    /// Forget this version.
    Retire {
        key: ProviderKeyId,
        name: KeyName,
        version: u32,
    },
}

/// What one agent has been told in this session.
#[derive(Default)]
pub(super) struct Told(BTreeMap<ProviderKeyId, ToldKey>);

struct ToldKey {
    name: KeyName,
    versions: BTreeSet<u32>,
    policy: Policy,
}

impl Told {
    /// What there is to tell: what goes first, then what comes, then what is overtaken.
    pub(super) fn changes(&self, allowed: &Allowed) -> Vec<Change> {
        let mut changes = Vec::new();
        let gone = self
            .0
            .iter()
            .filter(|(key, _)| !allowed.keys.contains_key(key));
        changes.extend(gone.map(|(key, told)| Change::Revoke {
            key: *key,
            name: told.name.clone(),
        }));
        let told = |key, wanted: &Wanted| {
            self.0.get(key).is_some_and(|told| {
                told.versions.contains(&wanted.current)
                    && told.policy.is_alike_for_agents(&wanted.policy)
            })
        };
        let new = allowed
            .keys
            .iter()
            .filter(|(key, wanted)| !told(key, wanted));
        changes.extend(new.map(|(key, wanted)| Change::Put {
            key: *key,
            version: wanted.current,
        }));
        for (key, wanted) in &allowed.keys {
            let versions = self.0.get(key).map(|told| &told.versions);
            let overtaken = versions.into_iter().flatten();
            changes.extend(
                overtaken
                    .filter(|version| !wanted.holdable.contains(version))
                    .map(|version| Change::Retire {
                        key: *key,
                        name: wanted.name.clone(),
                        version: *version,
                    }),
            );
        }
        changes
    }

    /// Notes that a change was told.
    pub(super) fn note(&mut self, change: &Change, allowed: &Allowed) {
        match change {
            Change::Revoke { key, .. } => {
                self.0.remove(key);
            }
            Change::Put { key, version } => {
                if let Some(wanted) = allowed.keys.get(key) {
                    let name = wanted.name.clone();
                    let told = self.0.entry(*key).or_insert_with(|| ToldKey {
                        name,
                        versions: BTreeSet::new(),
                        policy: wanted.policy.clone(),
                    });
                    told.versions.insert(*version);
                    told.policy = wanted.policy.clone();
                }
            }
            Change::Retire { key, version, .. } => {
                if let Some(told) = self.0.get_mut(key) {
                    told.versions.remove(version);
                }
            }
        }
    }
}

impl From<&Change> for metrics::Told {
    fn from(change: &Change) -> Self {
        match change {
            Change::Put { .. } => Self::Put,
            Change::Retire { .. } => Self::Retire,
            Change::Revoke { .. } => Self::Revoke,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(100);
    const KEY: ProviderKeyId = ProviderKeyId::from_bytes([1; 16]);
    const VM: VmId = VmId::from_bytes([9; 16]);

    fn row(version: i64, current: i64, retire_at: Option<i64>) -> DeliverableVersion {
        DeliverableVersion {
            id: KEY,
            name: "openai".to_owned(),
            provider: "openai".to_owned(),
            policy: r#"{"vms": "all", "delivery": "raw", "allowed_hosts": [],
                "lease_seconds": 60, "expires_at": null}"#
                .to_owned(),
            current_version: current,
            version,
            retire_at: retire_at.map(UnixTime::from_seconds),
        }
    }

    fn allowed(rows: Vec<DeliverableVersion>) -> Allowed {
        let mut allowed = Allowed::default();
        allowed.extend(rows, VM, NOW).unwrap();
        allowed
    }

    /// Tells an agent everything and gives what was said.
    fn tell(told: &mut Told, allowed: &Allowed) -> Vec<Change> {
        let changes = told.changes(allowed);
        changes.iter().for_each(|change| told.note(change, allowed));
        assert_eq!(
            told.changes(allowed),
            [],
            "what was told once is not told again"
        );
        changes
    }

    fn name() -> KeyName {
        "openai".parse().unwrap()
    }

    #[test]
    fn a_new_key_is_put_and_a_revoked_one_taken_back() {
        let mut told = Told::default();
        let put = [Change::Put {
            key: KEY,
            version: 1,
        }];
        assert_eq!(tell(&mut told, &allowed(vec![row(1, 1, None)])), put);
        let revoke = [Change::Revoke {
            key: KEY,
            name: name(),
        }];
        assert_eq!(tell(&mut told, &allowed(vec![])), revoke);
    }

    #[test]
    fn a_rotation_without_overlap_puts_the_new_and_retires_the_old() {
        let mut told = Told::default();
        tell(&mut told, &allowed(vec![row(1, 1, None)]));
        let changes = [
            Change::Put {
                key: KEY,
                version: 2,
            },
            Change::Retire {
                key: KEY,
                name: name(),
                version: 1,
            },
        ];
        assert_eq!(tell(&mut told, &allowed(vec![row(2, 2, None)])), changes);
    }

    #[test]
    fn an_overlapping_version_is_retired_when_its_time_is_over() {
        let mut told = Told::default();
        tell(&mut told, &allowed(vec![row(1, 1, None)]));
        let overlap = allowed(vec![row(1, 2, Some(160)), row(2, 2, None)]);
        assert_eq!(overlap.changes_at, Some(UnixTime::from_seconds(160)));
        assert_eq!(
            tell(&mut told, &overlap),
            [Change::Put {
                key: KEY,
                version: 2
            }]
        );
        let retire = [Change::Retire {
            key: KEY,
            name: name(),
            version: 1,
        }];
        assert_eq!(tell(&mut told, &allowed(vec![row(2, 2, None)])), retire);
    }

    #[test]
    fn a_fresh_session_in_an_overlap_gets_only_the_current_version() {
        let overlap = allowed(vec![row(1, 2, Some(160)), row(2, 2, None)]);
        let changes = tell(&mut Told::default(), &overlap);
        assert_eq!(
            changes,
            [Change::Put {
                key: KEY,
                version: 2
            }]
        );
    }

    #[test]
    fn a_changed_policy_is_told_with_the_same_version() {
        let mut told = Told::default();
        tell(&mut told, &allowed(vec![row(1, 1, None)]));
        let put = [Change::Put {
            key: KEY,
            version: 1,
        }];
        let changed = |changes: &[(&str, &str)]| {
            let mut row = row(1, 1, None);
            for (from, to) in changes {
                row.policy = row.policy.replace(from, to);
            }
            allowed(vec![row])
        };
        let inject = ("raw", "inject");
        assert_eq!(tell(&mut told, &changed(&[inject])), put);
        let budget = ("\"lease", "\"budget\": {\"requests_per_day\": 5}, \"lease");
        assert_eq!(tell(&mut told, &changed(&[inject, budget])), put);
        let lease = ("60", "90");
        assert_eq!(tell(&mut told, &changed(&[inject, budget, lease])), []);
    }

    #[test]
    fn the_shortest_lease_counts() {
        assert_eq!(allowed(vec![row(1, 1, None)]).lease(), 60);
        assert_eq!(allowed(vec![]).lease(), DEFAULT_LEASE);
    }

    #[test]
    fn a_key_for_other_vms_is_not_delivered() {
        let mut other = row(1, 1, None);
        other.policy = other.policy.replace("\"all\"", "[]");
        assert!(allowed(vec![other]).keys.is_empty());
    }
}
