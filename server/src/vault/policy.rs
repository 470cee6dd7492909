//! Who may have a key, and how.

use keyferry_protocol::wire::Delivery;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::use_policy::{self, Budget, Tool};
use crate::error::{ApiError, FieldError};
use crate::member::named;
use crate::store::{UnixTime, VmId};
use crate::whole_number;

/// The policy of a key, as it is stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Policy {
    /// Which VMs of the tenant get it.
    pub(crate) vms: Vms,
    /// Whether tools may read it, or only the agent's proxy uses it.
    pub(crate) delivery: DeliveryName,
    /// Hosts that the proxy may send it to; empty for the provider's own.
    pub(crate) allowed_hosts: Vec<String>,
    /// How long a VM may hold it without contact.
    pub(crate) lease_seconds: u32,
    /// When it ends.
    pub(crate) expires_at: Option<UnixTime>,
    /// Which tools may use it; empty for all that the machine's own rules admit.
    #[serde(default)]
    pub(crate) tools: Vec<Tool>,
    /// How much each VM may use it.
    #[serde(default)]
    pub(crate) budget: Budget,
}

/// Every VM of the tenant, or some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Vms {
    /// `"all"`
    All(All),
    /// A list of ids.
    Some(Vec<VmId>),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum All {
    All,
}

/// `raw` or `inject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DeliveryName {
    Raw,
    Inject,
}

/// What a request says about the policy; the rest stays at its default.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPolicy {
    vms: Option<Vms>,
    delivery: Option<DeliveryName>,
    #[schemars(length(max = MOST_HOSTS), inner(regex(pattern = HOST), length(max = LONGEST_NAME)))]
    allowed_hosts: Option<Vec<String>>,
    #[serde(default, deserialize_with = "whole_number::optional")]
    #[schemars(range(min = 30, max = 86_400))]
    lease_seconds: Option<u32>,
    /// `null` for never.
    #[serde(default, deserialize_with = "named")]
    #[schemars(with = "Option<UnixTime>")]
    expires_at: Option<Option<UnixTime>>,
    tools: Option<Vec<Tool>>,
    budget: Option<Budget>,
}

impl NewPolicy {
    /// The default with this delivery.
    pub(crate) fn delivered(delivery: DeliveryName) -> Self {
        Self {
            delivery: Some(delivery),
            ..Self::default()
        }
    }

    /// The whole policy, checked. Without a word a tool may not read the key.
    pub(crate) fn complete(self, now: UnixTime) -> Result<Policy, ApiError> {
        let usual = Policy {
            vms: Vms::All(All::All),
            delivery: DeliveryName::Inject,
            allowed_hosts: Vec::new(),
            lease_seconds: DEFAULT_LEASE,
            expires_at: None,
            tools: Vec::new(),
            budget: Budget::default(),
        };
        self.over(usual, now)
    }

    /// The policy before, but for what is named here.
    pub(crate) fn over(self, before: Policy, now: UnixTime) -> Result<Policy, ApiError> {
        let ends = self.expires_at.flatten();
        let policy = Policy {
            vms: self.vms.unwrap_or(before.vms),
            delivery: self.delivery.unwrap_or(before.delivery),
            allowed_hosts: self.allowed_hosts.unwrap_or(before.allowed_hosts),
            lease_seconds: self.lease_seconds.unwrap_or(before.lease_seconds),
            expires_at: self.expires_at.unwrap_or(before.expires_at),
            tools: self.tools.unwrap_or(before.tools),
            budget: self.budget.unwrap_or(before.budget),
        };
        let mut wrong = policy.faults();
        // What has ended already can still be narrowed.
        if ends.is_some_and(|end| end <= now) {
            wrong.push(FieldError::new("policy.expires_at", "is in the past"));
        }
        if wrong.is_empty() {
            Ok(policy)
        } else {
            Err(ApiError::Invalid(wrong))
        }
    }
}

impl Policy {
    /// Whether this VM may have the key now.
    pub(crate) fn admits(&self, vm: VmId, now: UnixTime) -> bool {
        let named = match &self.vms {
            Vms::All(_) => true,
            Vms::Some(vms) => vms.contains(&vm),
        };
        named && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether agents are told the same: VMs and leases are not their affair.
    pub(crate) fn is_alike_for_agents(&self, other: &Self) -> bool {
        self.delivery == other.delivery
            && self.allowed_hosts == other.allowed_hosts
            && self.expires_at == other.expires_at
            && self.tools == other.tools
            && self.budget == other.budget
    }

    /// Whether any tool of any VM may read the key now, as often as it likes.
    pub(crate) fn admits_any_reader(&self, now: UnixTime) -> bool {
        self.vms == Vms::All(All::All)
            && self.delivery == DeliveryName::Raw
            && self.tools.is_empty()
            && self.budget == Budget::default()
            && self.expires_at.is_none_or(|end| now < end)
    }

    fn stored_bytes(&self) -> usize {
        serde_json::to_string(self).map_or(usize::MAX, |text| text.len())
    }

    fn faults(&self) -> Vec<FieldError> {
        let mut wrong = Vec::new();
        let mut fault = |is: bool, field: &str, detail: &str| {
            if is {
                wrong.push(FieldError::new(field, detail));
            }
        };
        let too_many = matches!(&self.vms, Vms::Some(vms) if vms.len() > MOST_VMS);
        fault(
            too_many,
            "policy.vms",
            "at most 256 VMs can be named; use \"all\"",
        );
        let lease = LEASES.contains(&self.lease_seconds);
        fault(!lease, "policy.lease_seconds", "is 30 to 86400 seconds");
        let many = self.allowed_hosts.len() > MOST_HOSTS;
        fault(
            many,
            "policy.allowed_hosts",
            "at most 32 hosts can be named",
        );
        let odd = self.allowed_hosts.iter().any(|host| !is_host(host));
        fault(
            odd,
            "policy.allowed_hosts",
            "each is a host name with an optional port",
        );
        fault(
            self.stored_bytes() > MOST_BYTES,
            "policy",
            "is at most 16384 bytes of JSON",
        );
        wrong.extend(use_policy::faults(&self.tools, self.budget));
        wrong
    }
}

impl From<DeliveryName> for Delivery {
    fn from(name: DeliveryName) -> Self {
        match name {
            DeliveryName::Raw => Self::Raw,
            DeliveryName::Inject => Self::Inject,
        }
    }
}

/// The same, as far as a pattern tells it.
const HOST: &str = "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\
    (\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\
    (:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$";

/// A DNS name (RFC 1123 §2.1) with an optional port.
fn is_host(text: &str) -> bool {
    let (name, port) = text
        .rsplit_once(':')
        .map_or((text, None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // `parse` alone would take a sign and leading zeros.
    let port_number = |port: &str| {
        port.starts_with(|first: char| ('1'..='9').contains(&first)) && port.parse::<u16>().is_ok()
    };
    name.len() <= LONGEST_NAME && name.split('.').all(label) && port.is_none_or(port_number)
}

/// How long a VM may hold keys without contact, in seconds, where nobody says otherwise.
pub(crate) const DEFAULT_LEASE: u32 = 900;
const LEASES: std::ops::RangeInclusive<u32> = 30..=86_400;
/// As it is stored.
const MOST_BYTES: usize = 16 * 1024;
const MOST_VMS: usize = 256;
const MOST_HOSTS: usize = 32;
const LONGEST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_000);

    fn policy(text: &str) -> Result<Policy, ApiError> {
        serde_json::from_str::<NewPolicy>(text)
            .unwrap()
            .complete(NOW)
    }

    #[test]
    fn without_a_word_every_vm_has_it_and_no_tool_reads_it() {
        let policy = policy("{}").unwrap();
        assert_eq!(policy.vms, Vms::All(All::All));
        assert_eq!(policy.delivery, DeliveryName::Inject);
        assert_eq!(policy.lease_seconds, 900);
        assert!(policy.admits(VmId::from_bytes([1; 16]), NOW));
    }

    #[test]
    fn only_the_named_vms_have_it_and_only_until_it_ends() {
        let policy = policy(
            r#"{"vms": ["01010101-0101-0101-0101-010101010101"], "delivery": "raw",
                "expires_at": "1970-01-01T01:00:00Z", "allowed_hosts": ["api.example.org:8443"]}"#,
        )
        .unwrap();
        let one = VmId::from_bytes([1; 16]);
        assert!(policy.admits(one, NOW));
        assert!(!policy.admits(VmId::from_bytes([2; 16]), NOW));
        assert!(!policy.admits(one, UnixTime::from_seconds(3600)));
        let stored = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&stored).unwrap(), policy);
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let before =
            policy(r#"{"delivery": "raw", "expires_at": "1970-01-01T01:00:00Z"}"#).unwrap();
        let change: NewPolicy = serde_json::from_str(r#"{"lease_seconds": 60}"#).unwrap();
        let after = change.over(before.clone(), NOW).unwrap();
        assert_eq!(
            (after.delivery, after.lease_seconds),
            (DeliveryName::Raw, 60)
        );
        assert_eq!(after.expires_at, before.expires_at);
        let change: NewPolicy = serde_json::from_str(r#"{"expires_at": null}"#).unwrap();
        assert_eq!(change.over(before, NOW).unwrap().expires_at, None);
    }

    #[test]
    fn a_key_that_has_ended_can_be_narrowed_and_not_ended_in_the_past_again() {
        let before = policy(r#"{"expires_at": "1970-01-01T01:00:00Z"}"#).unwrap();
        let later = UnixTime::from_seconds(7_200);
        let narrow = |text: &str| {
            let change: NewPolicy = serde_json::from_str(text).unwrap();
            change.over(before.clone(), later)
        };
        let narrowed = narrow(r#"{"allowed_hosts": ["api.example.org"]}"#).unwrap();
        assert_eq!(narrowed.expires_at, before.expires_at);
        let Err(ApiError::Invalid(faults)) = narrow(r#"{"expires_at": "1970-01-01T01:30:00Z"}"#)
        else {
            panic!("it is in the past")
        };
        assert_eq!(faults[0].field, "policy.expires_at");
    }

    #[test]
    fn a_policy_has_a_bound_as_a_whole() {
        let hosts = |count: usize| {
            let label = "a".repeat(60);
            let host = |number: usize| format!("{number}.{label}.{label}.{label}.{label}");
            (0..count).map(host).collect::<Vec<_>>()
        };
        let vms = vec!["01010101-0101-0101-0101-010101010101"; MOST_VMS];
        let text = |count| serde_json::json!({ "vms": vms, "allowed_hosts": hosts(count) });
        assert!(policy(&text(20).to_string()).is_ok());
        let Err(ApiError::Invalid(faults)) = policy(&text(32).to_string()) else {
            panic!("it is too long")
        };
        assert_eq!(faults[0].field, "policy");
    }

    #[test]
    fn wrong_policies_are_refused_with_the_field_at_fault() {
        for (text, field) in [
            (r#"{"lease_seconds": 29}"#, "policy.lease_seconds"),
            (r#"{"lease_seconds": 86401}"#, "policy.lease_seconds"),
            (
                r#"{"expires_at": "1970-01-01T00:00:01Z"}"#,
                "policy.expires_at",
            ),
            (r#"{"allowed_hosts": ["a b"]}"#, "policy.allowed_hosts"),
            (r#"{"allowed_hosts": ["x:0"]}"#, "policy.allowed_hosts"),
            (r#"{"allowed_hosts": ["x:+443"]}"#, "policy.allowed_hosts"),
            (r#"{"allowed_hosts": ["x:0443"]}"#, "policy.allowed_hosts"),
            (r#"{"allowed_hosts": ["x:65536"]}"#, "policy.allowed_hosts"),
            (r#"{"allowed_hosts": ["http://x"]}"#, "policy.allowed_hosts"),
        ] {
            let Err(ApiError::Invalid(fields)) = policy(text) else {
                panic!("{text}")
            };
            assert_eq!(fields[0].field, field, "{text}");
        }
    }
}
