//! Replaces the master key under every record, while servers run. It can be killed at any moment
//! and begun again: the database knows both keys until the last record is done.

use std::time::Duration;

use serde_json::json;

use super::{MasterKey, MasterKeyError, Ring, RootKey, SETTING, both};
use crate::app::App;
use crate::audit::Entry;
use crate::store::{Record, RecordKind, Resealed, StoreError, StoredRotation, uuid_v7};
use crate::vault::seal;
use crate::vault::{record_context_of, value};

/// Which key takes over.
pub(crate) enum NewKey {
    /// One that the server makes, where it keeps the key itself.
    Made,
    /// One that the operator has put in its place.
    Given(RootKey),
}

/// Announces the new key to every server, or goes on with the change that is under way.
pub(crate) async fn begin(app: &App, new: NewKey) -> Result<StoredRotation, MasterKeyError> {
    if let Some(under_way) = app.store.master_key_rotation().await? {
        let same = |key: &RootKey| under_way.new_id == key.id();
        if matches!(&new, NewKey::Given(key) if !same(key)) {
            return Err(MasterKeyError::UnderWay);
        }
        app.master_key.take_up(&under_way)?;
        return Ok(under_way);
    }
    let new = match (new, app.master_key.kept_in) {
        (NewKey::Given(key), _) => key,
        (NewKey::Made, None) => RootKey::random(&app.arena, &mut app.rng())?,
        (NewKey::Made, Some(name)) => return Err(MasterKeyError::KeptElsewhere(name)),
    };
    let old = app.master_key.current();
    if new.id() == old.id() {
        return Err(MasterKeyError::Same);
    }
    announce(app, &old, &new).await?;
    let announced = app.store.master_key_rotation().await?;
    let announced = announced.ok_or(MasterKeyError::Superseded)?;
    app.master_key.take_up(&announced)?;
    Ok(announced)
}

async fn announce(app: &App, old: &RootKey, new: &RootKey) -> Result<(), MasterKeyError> {
    let mut rng = app.rng();
    let new_under_old = seal::seal_under(old, &mut rng, &context(&new.id()), &new.copy()?)?;
    let old_under_new = seal::seal_under(new, &mut rng, &context(&old.id()), &old.copy()?)?;
    let mut change = app.store.begin().await?;
    if change.is_retired(&new.id()).await? {
        return Err(MasterKeyError::Retired);
    }
    let begun = change
        .begin_master_key_rotation(&new_under_old, &old_under_new, app.clock.now())
        .await;
    match begun {
        Ok(()) => {}
        Err(StoreError::Exists(_)) => return Err(MasterKeyError::UnderWay),
        Err(other) => return Err(other.into()),
    }
    audit(app, &mut change, "server.master_key_rotation_begun").await?;
    // While no other change can begin, and before the database alone has the new key.
    app.master_key.at_home(|home| home.keep(new, Some(old)))?;
    Ok(change.commit().await?)
}

/// How many records the change concerns.
pub(crate) async fn to_reseal(app: &App) -> Result<u64, MasterKeyError> {
    let mut records = 0;
    for kind in RecordKind::ALL {
        records += app.store.count_records(kind).await?;
    }
    Ok(records)
}

/// Opens some records with the old key and seals them with the new one; how many it were.
pub(crate) async fn reseal_some(
    app: &App,
    rotation: &StoredRotation,
) -> Result<u64, MasterKeyError> {
    for kind in RecordKind::ALL {
        let records = app.store.records_under(kind, &rotation.old_id).await?;
        if records.is_empty() {
            continue;
        }
        let done = records.len();
        let mut change = app.store.begin().await?;
        for record in records {
            change
                .replace_seal(kind, &reseal(app, kind, record)?)
                .await?;
        }
        change.commit().await?;
        return Ok(u64::try_from(done).unwrap_or(u64::MAX));
    }
    Ok(0)
}

fn reseal(app: &App, kind: RecordKind, before: Record) -> Result<Resealed, MasterKeyError> {
    let damaged = |cause| MasterKeyError::Damaged {
        table: kind.name(),
        id: before.id,
        cause,
    };
    let context = record_context_of(kind, &before);
    let plain = seal::open(&app.master_key, &context, &before.sealed).map_err(damaged)?;
    let fingerprint = match kind {
        RecordKind::KeyVersion => Some(value::fingerprint(
            &app.master_key,
            before.tenant.into_bytes(),
            &plain,
        )?),
        _ => None,
    };
    let sealed = seal::seal(&app.master_key, &mut app.rng(), &context, &plain)?;
    Ok(Resealed {
        sealed,
        fingerprint,
        before,
    })
}

/// Retires the old key, once nothing is sealed under it. [`MasterKeyError::Left`] means: go on.
pub(crate) async fn finish(app: &App, rotation: &StoredRotation) -> Result<(), MasterKeyError> {
    let now = app.clock.now();
    let new = super::root::print_id(&rotation.new_id);
    let mut change = app.store.begin().await?;
    // First of all, since it makes this transaction SQLite's one writer.
    change.retire_master_key(&rotation.old_id, now).await?;
    change.stop_sealing().await?;
    let left = change
        .count_records_under(&rotation.old_id, &rotation.new_id)
        .await?;
    if left > 0 {
        return Err(MasterKeyError::Left { left });
    }
    change.set_setting(SETTING, &new, now).await?;
    change.end_master_key_rotation().await?;
    audit(app, &mut change, "server.master_key_rotated").await?;
    // The database is about to forget its copies.
    app.master_key.write_down()?;
    change.commit().await?;
    app.master_key.forget_old()
}

async fn audit(
    app: &App,
    change: &mut crate::store::Transaction,
    action: &'static str,
) -> Result<(), StoreError> {
    let entry = Entry {
        tenant: None,
        actor: "operator",
        action,
        subject: None,
        detail: json!({}),
        correlation: uuid_v7(app.clock.now(), &mut app.rng()),
    };
    change.insert_audit_event(app, &entry).await
}

impl MasterKey {
    /// Learns the new key of a change, and keeps it where the server keeps its key.
    pub(super) fn take_up(&self, rotation: &StoredRotation) -> Result<(), MasterKeyError> {
        let ring = self.ring();
        if ring.current.id() != *rotation.new_id {
            if ring.current.id() != *rotation.old_id {
                return Err(MasterKeyError::Superseded);
            }
            self.replace(both(ring.current, rotation)?);
        }
        self.write_down()
    }

    /// The change is over, once the new key is where the old one was.
    pub(super) fn forget_old(&self) -> Result<(), MasterKeyError> {
        let current = self.current();
        self.at_home(|home| home.settle(&current))?;
        self.replace(Ring {
            current,
            before: None,
        });
        Ok(())
    }

    /// Whether a change was under way when this server last looked.
    pub(super) fn is_changing(&self) -> bool {
        self.ring().before.is_some()
    }
}

/// What the copies of the two keys are bound to.
pub(super) fn context(id: &[u8]) -> Vec<u8> {
    [b"keyferry master key\0", id].concat()
}

/// How long servers have to notice a new key before the old one is retired.
pub(crate) const TO_NOTICE: Duration = Duration::from_secs(3);
