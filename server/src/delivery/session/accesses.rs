//! What tools in a machine did with its keys, as its agent tells it. An agent may say anything: so
//! many rows are written down for a machine, of keys of its tenant; of the rest, how many it were.

use std::collections::BTreeMap;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::wire::{Access, AccessKind};
use serde_json::json;

use super::Entered;
use crate::app::App;
use crate::limits;
use crate::store::{ProviderKeyId, StoreError};

/// Accesses that have no event of their own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    opened: u64,
    refused: u64,
}

impl LeftOut {
    fn add(&mut self, access: &Access) {
        let counted = match access.kind {
            AccessKind::Opened | AccessKind::Requested => &mut self.opened,
            AccessKind::Refused => &mut self.refused,
        };
        *counted = counted.saturating_add(access.count.into());
    }
}

/// What of a batch is within the machine's budget.
pub(super) fn within_budget(
    app: &App,
    entered: &Entered,
    batch: Vec<Access>,
    left_out: &mut LeftOut,
) -> Vec<Access> {
    let may = |_: &Access| limits::access(app, entered.vm);
    let (within, over): (Vec<_>, Vec<_>) = batch.into_iter().partition(may);
    over.iter().for_each(|access| left_out.add(access));
    within
}

/// Writes a batch down; `told` are the keys that the agent was told of.
pub(super) async fn write(
    app: &App,
    entered: &Entered,
    (batch, told): (&[Access], &BTreeMap<KeyName, ProviderKeyId>),
    left_out: &mut LeftOut,
) -> Result<(), StoreError> {
    let known = known(app, entered, (batch, told)).await?;
    let is_known = |access: &&Access| known.get(&access.key).is_some_and(|known| *known);
    let (ours, strange): (Vec<_>, Vec<_>) = batch.iter().partition(is_known);
    if !ours.is_empty() {
        let actor = entered.actor();
        let mut change = app.store.begin().await?;
        for access in ours {
            let action = match access.kind {
                AccessKind::Opened | AccessKind::Requested => "key.opened",
                AccessKind::Refused => "key.refused",
            };
            let detail = json!({
                "version": access.version,
                "uid": access.uid,
                "count": access.count,
                "sent": access.sent,
                "received": access.received,
                "last_at": access.at,
                "requested": access.kind == AccessKind::Requested,
            });
            let entry = entered.entry(&actor, action, (Some(access.key.as_str()), detail));
            change.insert_audit_event(app, &entry).await?;
        }
        change.commit().await?;
    }
    strange.into_iter().for_each(|access| left_out.add(access));
    Ok(())
}

/// Which names are keys of the tenant: those that the agent was told of in this session, and those
/// that it may have held before.
async fn known<'b>(
    app: &App,
    entered: &Entered,
    (batch, told): (&'b [Access], &BTreeMap<KeyName, ProviderKeyId>),
) -> Result<BTreeMap<&'b KeyName, bool>, StoreError> {
    let mut known = BTreeMap::new();
    for access in batch {
        if !known.contains_key(&access.key) {
            let is_known = told.contains_key(&access.key)
                || app
                    .store
                    .key(entered.tenant, access.key.as_str())
                    .await?
                    .is_some();
            known.insert(&access.key, is_known);
        }
    }
    Ok(known)
}

/// Writes down how many have no event of their own.
pub(super) async fn summarise(
    app: &App,
    entered: &Entered,
    left_out: &mut LeftOut,
) -> Result<(), StoreError> {
    if *left_out == LeftOut::default() {
        return Ok(());
    }
    let actor = entered.actor();
    let detail = json!({ "opened": left_out.opened, "refused": left_out.refused });
    let entry = entered.entry(&actor, "key.accesses_left_out", (None, detail));
    let mut change = app.store.begin().await?;
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    *left_out = LeftOut::default();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyferry_protocol::agreement::PublicKey;
    use keyferry_protocol::handshake::{Claims, CredentialKind};
    use keyferry_protocol::memory::ProtectionLevel;
    use keyferry_protocol::wire::Used;
    use serde_json::Value;
    use uuid::Uuid;

    use super::super::usage::used_today;
    use super::*;
    use crate::store::VmId;
    use crate::testing::{self, Server};
    use crate::vault;

    /// A server on which a machine's agent has entered.
    async fn entered() -> (Server, Entered) {
        let server = testing::server().await;
        let ada = server.user("ada").await;
        let body = json!({ "provider": "openai", "value": "sk-a-very-secret-value" });
        let body = serde_json::from_value(body).unwrap();
        let name = "openai".parse().unwrap();
        vault::put(&server.app, &ada, name, body).await.unwrap();
        let entered = Entered {
            tenant: ada.tenant_id(),
            vm: VmId::from_bytes([1; 16]),
            agent_key: PublicKey([1; 32]),
            claims: Claims {
                boot_id: [0; 16],
                agent_version: "1".to_owned(),
                protection: ProtectionLevel::Mlock,
                capabilities: 0,
            },
            session: Uuid::nil(),
            server_key: server.app.server_keys.pairs().noise.current.public(),
            by: CredentialKind::Ticket,
        };
        (server, entered)
    }

    fn access(key: &str, kind: AccessKind) -> Access {
        Access {
            key: key.parse().unwrap(),
            version: 1,
            uid: 1_000,
            at: 0,
            count: 2,
            sent: 30,
            received: 400,
            kind,
        }
    }

    /// What the audit has of the machine: the action and its subject.
    async fn written(server: &Server, entered: &Entered) -> Vec<Value> {
        let events = server.app.store.events_of(&entered.actor(), 9).await;
        let events = events.unwrap().into_iter();
        let shown = |event| serde_json::to_value(event).unwrap();
        events
            .map(shown)
            .map(|event| json!([event["action"], event["subject"]]))
            .collect()
    }

    #[tokio::test]
    async fn a_machine_that_tells_more_than_its_budget_gets_one_event_for_the_rest() {
        let (server, entered) = entered().await;
        let mut left_out = LeftOut::default();
        let mut rows = 0;
        for _ in 0..10 {
            let batch = vec![access("openai", AccessKind::Opened); 512];
            rows += within_budget(&server.app, &entered, batch, &mut left_out).len();
        }
        assert_eq!(rows, 3_000);
        let rest = LeftOut {
            opened: 2 * (5_120 - 3_000),
            refused: 0,
        };
        assert_eq!(left_out, rest);
        for _ in 0..2 {
            summarise(&server.app, &entered, &mut left_out)
                .await
                .unwrap();
        }
        let summary = json!(["key.accesses_left_out", null]);
        assert_eq!(written(&server, &entered).await, [summary]);
    }

    #[tokio::test]
    async fn names_that_are_no_keys_of_the_tenant_are_only_counted() {
        let (server, entered) = entered().await;
        let mut left_out = LeftOut::default();
        let told = BTreeMap::new();
        let batch = [
            access("openai", AccessKind::Opened),
            access("invented", AccessKind::Refused),
        ];
        let batch = (batch.as_slice(), &told);
        write(&server.app, &entered, batch, &mut left_out)
            .await
            .unwrap();
        let event = json!(["key.opened", "openai"]);
        assert_eq!(written(&server, &entered).await, [event]);
        let counted = LeftOut {
            opened: 0,
            refused: 2,
        };
        assert_eq!(left_out, counted);
    }

    #[tokio::test]
    async fn what_a_machine_requested_today_is_known_and_nothing_else_counts() {
        let (server, entered) = entered().await;
        let write = async |batch: &[Access]| {
            let (told, mut left_out) = (BTreeMap::new(), LeftOut::default());
            let batch = (batch, &told);
            write(&server.app, &entered, batch, &mut left_out)
                .await
                .unwrap();
        };
        let most = Access {
            count: u32::MAX,
            sent: u64::MAX,
            ..access("openai", AccessKind::Requested)
        };
        write(&[most]).await;
        server.clock.advance(Duration::from_secs(24 * 3600));
        assert_eq!(used_today(&server.app, &entered).await.unwrap(), []);
        for kind in [
            AccessKind::Requested,
            AccessKind::Opened,
            AccessKind::Refused,
            AccessKind::Requested,
        ] {
            write(&[access("openai", kind)]).await;
        }
        let used = Used {
            key: "openai".parse().unwrap(),
            requests: 4,
            bytes: 860,
        };
        assert_eq!(used_today(&server.app, &entered).await.unwrap(), [used]);
    }
}
