//! What each kind of sealed record is bound to.

use super::{record_context, server_keys};
use crate::store::{ProviderKeyId, Record, RecordKind, TenantId, TicketId, UserId};
use crate::{accounts, audit, delivery, sessions};

/// The context of a record that is looked at together with all others.
pub(crate) fn record_context_of(kind: RecordKind, record: &Record) -> Vec<u8> {
    let id = record.id.into_bytes();
    match kind {
        RecordKind::KeyVersion => record_context(
            TenantId::from_bytes(record.tenant.into_bytes()),
            ProviderKeyId::from_bytes(id),
            u32::try_from(record.version).unwrap_or(u32::MAX),
        ),
        RecordKind::Ticket => delivery::ticket_context(TicketId::from_bytes(id)),
        RecordKind::Reattach => delivery::reattach_context(TicketId::from_bytes(id)),
        RecordKind::Totp => accounts::totp_context(UserId::from_bytes(id)),
        RecordKind::SigningKey => sessions::signing_key_context(record.id),
        RecordKind::ServerKey => server_keys::context(&record.purpose),
        RecordKind::AuditKey => audit::KEY_CONTEXT.to_vec(),
    }
}
