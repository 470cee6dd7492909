//! What may have happened, and how it is written for other servers.

use uuid::Uuid;

use super::Topic;
use crate::store::{ChangeNote, SessionId, TenantId, VmId};

/// Something changed in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A key of this tenant was put, rotated, revoked or deleted.
    KeysChanged {
        /// Whose keys.
        tenant: TenantId,
    },
    /// A VM was changed, cut off or told to wipe.
    VmChanged {
        /// Whose VM.
        tenant: TenantId,
        /// Which VM.
        vm: VmId,
    },
    /// The agent of a VM has connected or is gone.
    VmSeen {
        /// Whose VM.
        tenant: TenantId,
        /// Which VM.
        vm: VmId,
    },
    /// A VM of this tenant was told of a version, or has acknowledged one.
    HeldChanged {
        /// Whose VM.
        tenant: TenantId,
    },
    /// A sign-in has ended.
    SessionEnded {
        /// Which one.
        session: SessionId,
    },
}

impl Event {
    /// What it is about: who cares for one of these hears of it.
    pub(super) fn topics(self) -> [Option<Topic>; 2] {
        match self {
            Self::KeysChanged { tenant } => [Some(Topic::Keys(tenant)), None],
            Self::VmChanged { tenant, vm } => [Some(Topic::Vm(vm)), Some(Topic::Vms(tenant))],
            Self::VmSeen { tenant, .. } | Self::HeldChanged { tenant } => {
                [Some(Topic::Vms(tenant)), None]
            }
            Self::SessionEnded { session } => [Some(Topic::Session(session)), None],
        }
    }

    /// As it is noted in the database.
    pub(super) fn note(self) -> ChangeNote {
        let (kind, tenant_id, vm_id, session_id) = match self {
            Self::KeysChanged { tenant } => ("keys", Some(tenant), None, None),
            Self::VmChanged { tenant, vm } => ("vm", Some(tenant), Some(vm), None),
            Self::VmSeen { tenant, vm } => ("seen", Some(tenant), Some(vm), None),
            Self::HeldChanged { tenant } => ("held", Some(tenant), None, None),
            Self::SessionEnded { session } => ("session", None, None, Some(session)),
        };
        ChangeNote {
            kind: kind.to_owned(),
            tenant_id,
            vm_id,
            session_id,
        }
    }

    /// Nothing when a newer server has noted what this one does not know.
    pub(super) fn of(note: &ChangeNote) -> Option<Self> {
        match (
            note.kind.as_str(),
            note.tenant_id,
            note.vm_id,
            note.session_id,
        ) {
            ("keys", Some(tenant), ..) => Some(Self::KeysChanged { tenant }),
            ("vm", Some(tenant), Some(vm), _) => Some(Self::VmChanged { tenant, vm }),
            ("seen", Some(tenant), Some(vm), _) => Some(Self::VmSeen { tenant, vm }),
            ("held", Some(tenant), ..) => Some(Self::HeldChanged { tenant }),
            ("session", _, _, Some(session)) => Some(Self::SessionEnded { session }),
            _ => None,
        }
    }

    /// As it goes through Redis: six words, `-` for what there is not.
    pub(super) fn message(self, (origin, note): (Uuid, Option<i64>)) -> String {
        let event = self.note();
        let words = [
            origin.to_string(),
            word(note),
            event.kind,
            word(event.tenant_id),
            word(event.vm_id),
            word(event.session_id),
        ];
        words.join(" ")
    }

    /// Who sent it, the number of its note, and the event.
    pub(super) fn parse(message: &str) -> Option<(Uuid, Option<i64>, Self)> {
        let words: Vec<&str> = message.split(' ').collect();
        let [origin, note, kind, tenant, vm, session] = words[..] else {
            return None;
        };
        let event = Self::of(&ChangeNote {
            kind: kind.to_owned(),
            tenant_id: tenant.parse().ok(),
            vm_id: vm.parse().ok(),
            session_id: session.parse().ok(),
        });
        Some((origin.parse().ok()?, note.parse().ok(), event?))
    }
}

fn word(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Event, Uuid};
    use crate::store::{SessionId, TenantId, VmId};

    #[test]
    fn every_event_comes_back_from_its_note_and_its_message() {
        let tenant = TenantId::from_bytes([1; 16]);
        let vm = VmId::from_bytes([2; 16]);
        let session = SessionId::from_bytes([3; 16]);
        let events = [
            Event::KeysChanged { tenant },
            Event::VmChanged { tenant, vm },
            Event::VmSeen { tenant, vm },
            Event::HeldChanged { tenant },
            Event::SessionEnded { session },
        ];
        for event in events {
            assert_eq!(Event::of(&event.note()), Some(event));
            for sent in [(Uuid::nil(), Some(7)), (Uuid::max(), None)] {
                let (origin, note, heard) = Event::parse(&event.message(sent)).unwrap();
                assert_eq!(((origin, note), heard), (sent, event));
            }
        }
    }

    #[test]
    fn what_is_not_known_is_no_event() {
        let strange = [
            "",
            "a b",
            "- - keys - - -",
            "00000000-0000-0000-0000-000000000000 1 weather - - -",
            "00000000-0000-0000-0000-000000000000 1 keys - - -",
        ];
        for message in strange {
            assert_eq!(Event::parse(message), None, "{message:?}");
        }
    }
}
