//! Who may have a key, and how.

use keyferry_protocol::wire::Delivery;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, FieldError};
use crate::store::{UnixTime, VmId};

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
    #[schemars(length(max = MOST_HOSTS), inner(regex(pattern = HOST)))]
    allowed_hosts: Option<Vec<String>>,
    #[schemars(range(min = 30, max = 86_400))]
    lease_seconds: Option<u32>,
    expires_at: Option<UnixTime>,
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
        let policy = Policy {
            vms: self.vms.unwrap_or(Vms::All(All::All)),
            delivery: self.delivery.unwrap_or(DeliveryName::Inject),
            allowed_hosts: self.allowed_hosts.unwrap_or_default(),
            lease_seconds: self.lease_seconds.unwrap_or(DEFAULT_LEASE),
            expires_at: self.expires_at,
        };
        let wrong = policy.faults(now);
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

    fn faults(&self, now: UnixTime) -> Vec<FieldError> {
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
        let past = self.expires_at.is_some_and(|end| end <= now);
        fault(past, "policy.expires_at", "is in the past");
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
    (\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,3}(:[1-9][0-9]{0,3})?$";

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
    name.len() <= 253
        && name.split('.').all(label)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// How long a VM may hold keys without contact, in seconds, where nobody says otherwise.
pub(crate) const DEFAULT_LEASE: u32 = 900;
const LEASES: std::ops::RangeInclusive<u32> = 30..=86_400;
const MOST_VMS: usize = 256;
const MOST_HOSTS: usize = 32;

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
            (r#"{"allowed_hosts": ["http://x"]}"#, "policy.allowed_hosts"),
        ] {
            let Err(ApiError::Invalid(fields)) = policy(text) else {
                panic!("{text}")
            };
            assert_eq!(fields[0].field, field, "{text}");
        }
    }
}
