//! From settings to a database that is open, and the master key that belongs to it.

use getrandom::SysRng;
use keyferry_protocol::memory::{self, Arena};
use rand_core::UnwrapErr;
use uuid::Uuid;

use super::Failure;
use crate::clock::Clock;
use crate::config::{Config, Database};
use crate::data_dir::DataDir;
use crate::store::{INSTANCE, Schema, Store, StoreError, uuid_v7};
use crate::vault::master_key::{MasterKey, Place};

/// What every command on the database begins with.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) arena: Arena,
    pub(super) master_key: MasterKey,
    /// Names this installation.
    pub(super) instance: Uuid,
}

/// Finds that database and master key belong together before anything is changed, and then brings
/// the schema up to date. The first start makes them.
pub(super) async fn open(config: &Config, data_dir: &DataDir) -> Result<Opened, Failure> {
    let clock = Clock::system();
    let mut rng = UnwrapErr(SysRng);
    let arena = Arena::new(memory::self_test()?)?;
    let (store, schema) = reach(&config.database).await?;
    store.refuse_foreign_schema().await?;
    if schema.is_empty() {
        store.migrate().await?;
    }
    let now = clock.now();
    let proposed = uuid_v7(now, &mut rng).to_string();
    let instance = store.decide_setting(INSTANCE, &proposed, now).await?;
    let instance = instance.parse()?;
    let place = Place {
        data_dir,
        arena: &arena,
        instance,
    };
    let source = &config.master_key;
    let mut master_key = MasterKey::load(source, &place, (&store, &schema), &mut rng).await?;
    store.migrate().await?;
    refuse_lacking(&store).await?;
    master_key.confirm(&store, now).await?;
    Ok(Opened {
        store,
        clock,
        arena,
        master_key,
        instance,
    })
}

/// Better now than in the middle of something.
async fn refuse_lacking(store: &Store) -> Result<(), Failure> {
    let lacks = store.lacking_rights().await?;
    let Some(first) = lacks.first() else {
        return Ok(());
    };
    let more = match lacks.len() {
        1 => String::new(),
        all => format!(" and {} more", all - 1),
    };
    Err(format!(
        "the database's role lacks {first}{more}: run `keyferry-server migrate --grant-to ROLE` with \
         the DATABASE_URL of the schema's owner"
    )
    .into())
}

/// The database as it is; nothing is made.
pub(super) async fn connect(config: &Config) -> Result<(Store, Schema), Failure> {
    if let Database::File(path) = &config.database
        && !path.exists()
    {
        return Err(format!("there is no database {}: {ASTRAY}", path.display()).into());
    }
    Ok(reach(&config.database).await?)
}

/// Which database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the database {place} cannot be used")]
struct Unusable {
    place: String,
    #[source]
    cause: StoreError,
}

async fn reach(database: &Database) -> Result<(Store, Schema), Unusable> {
    let reached = async {
        let store = Store::connect(database).await?;
        let schema = store.schema().await?;
        Ok((store, schema))
    };
    reached.await.map_err(|cause| Unusable {
        place: database.to_string(),
        cause,
    })
}

/// The same, where something is. Tables alone are nothing: `migrate` and a restore that was cut off
/// leave them.
pub(super) async fn connect_used(config: &Config) -> Result<(Store, Schema), Failure> {
    let (store, schema) = connect(config).await?;
    if schema.is_empty() || store.setting(INSTANCE).await?.is_none() {
        return Err(never_used());
    }
    Ok((store, schema))
}

/// Settings that lead to an empty database are mostly wrong ones.
pub(super) fn never_used() -> Failure {
    format!("the database has never been used: {ASTRAY}").into()
}

/// The same, of this program's schema: only `serve` and `migrate` bring that about, since servers of
/// the version before may be running.
pub(super) async fn connect_current(config: &Config) -> Result<(Store, Schema), Failure> {
    let (store, schema) = connect_used(config).await?;
    if !schema.pending.is_empty() {
        return Err(BEHIND.into());
    }
    Ok((store, schema))
}

/// A database that is looked at, with what belongs to it.
pub(super) struct Looked {
    pub(super) store: Store,
    pub(super) master_key: MasterKey,
    pub(super) instance: Uuid,
}

/// The database as it is, with the master key that belongs to it. Nothing is changed.
pub(super) async fn look(config: &Config, data_dir: &DataDir) -> Result<Looked, Failure> {
    let (store, schema) = connect_current(config).await?;
    let instance = store.setting(INSTANCE).await?.ok_or_else(never_used)?;
    let instance = instance.parse()?;
    let arena = Arena::new(memory::self_test()?)?;
    let place = Place {
        data_dir,
        arena: &arena,
        instance,
    };
    let source = &config.master_key;
    let mut rng = UnwrapErr(SysRng);
    let master_key = MasterKey::load(source, &place, (&store, &schema), &mut rng).await?;
    Ok(Looked {
        store,
        master_key,
        instance,
    })
}

const ASTRAY: &str = "give the --config, --data-dir or DATABASE_URL that the server has; for a new \
    installation, run `keyferry-server init`";
const BEHIND: &str = "the schema is behind: run `keyferry-server migrate`";
