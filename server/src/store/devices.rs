//! From which devices users have signed in: what their clients call themselves, and the network.

use sqlx::FromRow;

use super::{DeviceId, SessionId, Store, StoreError, Transaction, UnixTime, UserId, sql};

/// A device that signs in now.
pub(crate) struct NewDevice<'a> {
    pub(crate) id: DeviceId,
    pub(crate) user_id: UserId,
    pub(crate) mark: [u8; 32],
    pub(crate) user_agent: &'a str,
    pub(crate) network: &'a str,
    pub(crate) seen_at: UnixTime,
}

/// A device of a user.
#[derive(FromRow)]
pub(crate) struct StoredDevice {
    pub(crate) id: DeviceId,
    pub(crate) user_agent: String,
    pub(crate) network: String,
    pub(crate) first_seen_at: UnixTime,
    pub(crate) last_seen_at: UnixTime,
}

/// How well a device is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquaintance {
    /// It has signed in before.
    Known,
    /// It is the user's first one.
    First,
    /// The user has others.
    New,
}

impl Store {
    pub(crate) async fn devices(
        &self,
        user: UserId,
        before: Option<DeviceId>,
        limit: i64,
    ) -> Result<Vec<StoredDevice>, StoreError> {
        const SQL: &str = "SELECT id, user_agent, network, first_seen_at, last_seen_at \
            FROM devices WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
        sql!(
            self,
            query_as(SQL, user, before.unwrap_or(DeviceId::LAST), limit).fetch_all
        )
    }

    /// Whether the user has signed in from this network before.
    pub(crate) async fn has_been_at(
        &self,
        user: UserId,
        network: &str,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM devices WHERE user_id = $1 AND network = $2";
        let count: i64 = sql!(self, query_scalar(SQL, user, network).fetch_one)?;
        Ok(count > 0)
    }
}

impl Transaction {
    /// Notes that this device signs in: its id, and how well it was known.
    pub(crate) async fn meet_device(
        &mut self,
        new: &NewDevice<'_>,
    ) -> Result<(DeviceId, Acquaintance), StoreError> {
        const COUNT: &str = "SELECT COUNT(*) FROM devices WHERE user_id = $1";
        const SQL: &str = "INSERT INTO devices \
            (id, user_id, mark, user_agent, network, first_seen_at, last_seen_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (user_id, mark) DO UPDATE SET \
            last_seen_at = excluded.last_seen_at RETURNING id";
        let others: i64 = sql!(self, query_scalar(COUNT, new.user_id).fetch_one)?;
        let id: DeviceId = sql!(
            self,
            query_scalar(
                SQL,
                new.id,
                new.user_id,
                new.mark.as_slice(),
                new.user_agent,
                new.network,
                new.seen_at
            )
            .fetch_one
        )?;
        let acquaintance = match (id == new.id, others) {
            (false, _) => Acquaintance::Known,
            (true, 0) => Acquaintance::First,
            (true, _) => Acquaintance::New,
        };
        Ok((id, acquaintance))
    }

    /// Forgets all of the user's devices but so many, those that were seen last. Their sessions go on.
    pub(crate) async fn forget_devices_but(
        &mut self,
        user: UserId,
        most: i64,
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM devices WHERE user_id = $1 AND id NOT IN \
            (SELECT d.id FROM devices d WHERE d.user_id = $1 \
            ORDER BY d.last_seen_at DESC, d.id DESC LIMIT $2)";
        sql!(self, query(SQL, user, most).execute).map(drop)
    }

    /// Forgets the device and ends its sessions, unless it is another user's.
    pub(crate) async fn forget_device(
        &mut self,
        user: UserId,
        id: DeviceId,
        now: UnixTime,
    ) -> Result<Option<Vec<SessionId>>, StoreError> {
        const END: &str = "UPDATE sessions SET ended_at = $1 \
            WHERE user_id = $2 AND device_id = $3 AND ended_at IS NULL RETURNING id";
        const FORGET: &str = "DELETE FROM devices WHERE user_id = $1 AND id = $2";
        self.hold_every_session(user).await?;
        let ended = sql!(self, query_scalar(END, now, user, id).fetch_all)?;
        let forgotten = sql!(self, query(FORGET, user, id).execute)?;
        Ok((forgotten == 1).then_some(ended))
    }
}
