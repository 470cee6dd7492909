//! Properties of the messages inside the channel: what is written can be read, and no bytes make
//! a reader panic.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use common::arena;
use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::ids::{CredentialId, KeyName, SessionId, VmId};
use keyferry_protocol::memory::ProtectionLevel;
use keyferry_protocol::wire::{
    Accept, Access, AccessKind, Budget, Delivery, Held, KeyPolicy, MOST_TOOLS, MOST_USED, Outcome,
    Put, ToAgent, ToServer, ToolRule, Used,
};
use proptest::prelude::*;

fn key_name() -> impl Strategy<Value = KeyName> {
    "[A-Za-z0-9._-]{1,64}".prop_map(|text| text.parse().unwrap())
}

fn access() -> impl Strategy<Value = Access> {
    (
        key_name(),
        any::<u32>(),
        any::<u32>(),
        any::<u64>(),
        any::<u32>(),
        (any::<u64>(), any::<u64>(), access_kind()),
    )
        .prop_map(
            |(key, version, uid, at, count, (sent, received, kind))| Access {
                key,
                version,
                uid,
                at,
                count,
                sent,
                received,
                kind,
            },
        )
}

fn access_kind() -> impl Strategy<Value = AccessKind> {
    prop_oneof![
        Just(AccessKind::Refused),
        Just(AccessKind::Opened),
        Just(AccessKind::Requested)
    ]
}

fn used() -> impl Strategy<Value = Used> {
    (key_name(), any::<(u64, u64)>()).prop_map(|(key, (requests, bytes))| Used {
        key,
        requests,
        bytes,
    })
}

fn tool() -> impl Strategy<Value = ToolRule> {
    let exe = prop::option::of("/[a-z/.]{0,254}");
    (any::<(u32, Option<u32>)>(), exe, any::<Option<[u8; 32]>>()).prop_map(
        |((uid, gid), exe, sha256)| ToolRule {
            uid: Some(uid),
            gid,
            exe,
            sha256,
        },
    )
}

fn policy() -> impl Strategy<Value = KeyPolicy> {
    let tools = prop::collection::vec(tool(), 0..=MOST_TOOLS);
    (tools, any::<(u32, u32, u64)>()).prop_map(|(tools, (minute, day, bytes))| KeyPolicy {
        tools,
        budget: Budget {
            requests_per_minute: minute,
            requests_per_day: day,
            bytes_per_day: bytes,
        },
    })
}

fn to_server() -> impl Strategy<Value = ToServer> {
    let outcome = prop_oneof![
        Just(Outcome::Held),
        Just(Outcome::Wiped),
        Just(Outcome::Refused)
    ];
    let held = prop::collection::vec((key_name(), any::<u32>()), 0..40).prop_map(|keys| {
        ToServer::Held(Held {
            protection: ProtectionLevel::Mlock,
            keys,
        })
    });
    prop_oneof![
        any::<[u8; 16]>().prop_map(|id| ToServer::Ready {
            credential: CredentialId(id)
        }),
        (key_name(), any::<u32>(), outcome).prop_map(|(key, version, outcome)| ToServer::Ack {
            key,
            version,
            outcome
        }),
        held,
        prop::collection::vec(access(), 0..40).prop_map(ToServer::Audit),
        Just(ToServer::Bye),
    ]
}

proptest! {
    #[test]
    fn what_an_agent_says_survives_the_wire(said in to_server()) {
        let message = said.encode(&arena()).unwrap();
        prop_assert_eq!(message.len() % 256, 0);
        prop_assert_eq!(ToServer::decode(message.expose()).unwrap(), said);
    }

    #[test]
    fn a_key_survives_the_wire(
        key in key_name(),
        version: u32,
        not_after: u64,
        provider in "[a-z]{0,20}",
        raw: bool,
        hosts in prop::collection::vec("[a-z.]{1,40}", 0..20),
        policy in policy(),
        value in prop::collection::vec(any::<u8>(), 0..=8192),
    ) {
        let delivery = if raw { Delivery::Raw } else { Delivery::Inject };
        let put = ToAgent::Put(Put {
            key,
            version,
            not_after,
            provider: &provider,
            delivery,
            allowed_hosts: hosts.iter().map(String::as_str).collect(),
            policy,
            value: &value,
        });
        let message = put.encode(&arena()).unwrap();
        prop_assert!(same(&ToAgent::decode(message.expose()).unwrap(), message.expose()));
    }

    #[test]
    fn what_was_used_survives_the_wire(used in prop::collection::vec(used(), 0..=MOST_USED)) {
        let message = ToAgent::Used(used.clone()).encode(&arena()).unwrap();
        let read = ToAgent::decode(message.expose());
        prop_assert!(matches!(read, Ok(ToAgent::Used(read)) if read == used));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = ToAgent::decode(&bytes);
        let _ = ToServer::decode(&bytes);
    }

    #[test]
    fn a_changed_head_is_refused_or_read_as_another_message(
        said in to_server(), at in 0usize..64, to: u8,
    ) {
        let mut message = said.encode(&arena()).unwrap();
        let before = std::mem::replace(&mut message.expose_mut()[at], to);
        let read = ToServer::decode(message.expose());
        prop_assert_eq!(read == Ok(said), to == before);
    }
}

#[test]
fn the_other_messages_to_an_agent_survive_the_wire() {
    let key: KeyName = "openai".parse().unwrap();
    let accept = Accept {
        session: SessionId([1; 16]),
        vm: VmId([2; 16]),
        lease_seconds: 900,
        next_id: CredentialId([3; 16]),
        next_secret: &[4; 32],
    };
    let all = [
        ToAgent::Accept(accept),
        ToAgent::Retire {
            key: key.clone(),
            version: 3,
        },
        ToAgent::Revoke { key },
        ToAgent::Wipe,
        ToAgent::Lease { seconds: 900 },
        ToAgent::Drain,
        ToAgent::ServerKey {
            key: PublicKey([7; 32]),
        },
    ];
    for said in all {
        let message = said.encode(&arena()).unwrap();
        assert_eq!(message.len(), 256);
        assert!(same(
            &ToAgent::decode(message.expose()).unwrap(),
            message.expose()
        ));
    }
}

#[test]
fn padding_that_is_not_the_shortest_of_zeros_is_refused() {
    let message = ToServer::Bye.encode(&arena()).unwrap();
    let mut dirty = message.expose().to_vec();
    dirty[255] = 1;
    assert!(ToServer::decode(&dirty).is_err());
    let long = [message.expose(), &[0; 256]].concat();
    assert!(ToServer::decode(&long).is_err());
    assert!(ToServer::decode(&message.expose()[..5]).is_err());
}

#[test]
fn unknown_messages_and_trailing_fields_are_refused() {
    let mut unknown = vec![0; 256];
    unknown[0] = 99;
    assert!(ToServer::decode(&unknown).is_err());
    assert!(ToAgent::decode(&unknown).is_err());
    let mut trailing = vec![0; 256];
    trailing[..6].copy_from_slice(&[5, 0, 0, 0, 1, 7]);
    assert!(ToServer::decode(&trailing).is_err());
}

#[test]
fn more_used_keys_than_an_agent_holds_are_refused() {
    let key = |number: usize| format!("key-{number}").parse().unwrap();
    let used = (0..=MOST_USED).map(|number| Used {
        key: key(number),
        requests: 1,
        bytes: 2,
    });
    let message = ToAgent::Used(used.collect()).encode(&arena()).unwrap();
    // The writer leaves out what is too much; a count that says more is no message.
    assert!(ToAgent::decode(message.expose()).is_ok());
    let mut more = message.expose().to_vec();
    assert_eq!(more[5..7], [1, 0]);
    more[6] = 1;
    assert!(ToAgent::decode(&more).is_err());
}

/// Whether a message that was read is what these bytes say. Messages to an agent hold secrets, and
/// are not compared outside of tests.
fn same(read: &ToAgent<'_>, bytes: &[u8]) -> bool {
    read.encode(&arena()).unwrap().expose() == bytes
}
