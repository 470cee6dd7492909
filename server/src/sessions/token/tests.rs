use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use super::{Bearer, check, encode, issue};
use crate::app::App;
use crate::config::{Algorithm, Config};
use crate::sessions::{BuiltIn, Member, Membership, Role};
use crate::store::{SessionId, StoredPlan, TenantId, UserId};
use crate::tenants::Plan;
use crate::testing;

pub(super) fn bearer() -> Bearer {
    Bearer {
        session: SessionId::from_bytes([1; 16]),
        member: Member {
            user: UserId::from_bytes([2; 16]),
            tenant: TenantId::from_bytes([3; 16]),
        },
        membership: Membership {
            owes_factor: false,
            role: BuiltIn::Owner.into(),
            plan: Plan::for_tests(),
        },
    }
}

/// A token of this server whose header or claims were changed before it was signed.
pub(super) fn signed(app: &App, change: impl Fn(&mut Value, &mut Value)) -> String {
    let whole = issue(app, &bearer()).unwrap();
    let mut parts = whole.split('.').map(|part| {
        let bytes = Base64UrlUnpadded::decode_vec(part).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    });
    let (mut header, mut claims) = (parts.next().unwrap(), parts.next().unwrap());
    change(&mut header, &mut claims);
    let message = format!("{}.{}", encode(&header).unwrap(), encode(&claims).unwrap());
    let signature = app.signing_keys.keys().sign(message.as_bytes()).unwrap();
    format!("{message}.{}", Base64UrlUnpadded::encode_string(&signature))
}

pub(in crate::sessions) fn hs256() -> Config {
    let mut config = Config::for_tests();
    let secret = "0123456789abcdef0123456789abcdef";
    config.tokens.algorithm = Algorithm::Hs256(secret.into());
    config
}

#[tokio::test]
async fn a_token_says_whom_it_speaks_for() {
    for config in [Config::for_tests(), hs256()] {
        let server = testing::server_with(config).await;
        let token = issue(&server.app, &bearer()).unwrap();
        let claims = check(&server.app, &token).unwrap();
        assert_eq!(claims.session, SessionId::from_bytes([1; 16]));
        assert_eq!(claims.tenant, TenantId::from_bytes([3; 16]));
        assert!(check(&server.app, &token).is_some(), "from memory");
    }
}

#[tokio::test]
async fn a_token_ends_half_a_minute_after_its_life() {
    let server = testing::server().await;
    let token = issue(&server.app, &bearer()).unwrap();
    server.clock.advance(Duration::from_secs(15 * 60 + 28));
    assert!(check(&server.app, &token).is_some());
    server.clock.advance(Duration::from_secs(3));
    assert!(check(&server.app, &token).is_none());
}

#[tokio::test]
async fn the_longest_role_and_plan_fit_into_a_token() {
    let words = |shape: fn(usize) -> String| json!((0..32).map(shape).collect::<Vec<_>>());
    let permissions = words(|number| format!("{number:a>19}:{}", "b".repeat(20)));
    let features = words(|number| format!("{number:c>40}"));
    let mut longest = bearer();
    let role = Role::of("r".repeat(40), Some(&permissions.to_string()));
    longest.membership.role = role.unwrap();
    longest.membership.plan = Plan::of(StoredPlan {
        name: "p".repeat(64),
        requests_per_minute: Some(i32::MAX),
        vms: Some(i32::MAX),
        storage_gb: Some(i32::MAX),
        features: features.to_string(),
    })
    .unwrap();
    for config in [Config::for_tests(), hs256()] {
        let server = testing::server_with(config).await;
        let token = issue(&server.app, &longest).unwrap();
        assert!(token.len() > 4_096, "{}", token.len());
        assert!(check(&server.app, &token).is_some(), "{}", token.len());
    }
}

#[tokio::test]
async fn a_token_that_lacks_any_claim_is_refused() {
    let server = testing::server().await;
    assert!(check(&server.app, &signed(&server.app, |_, _| {})).is_some());
    for claim in [
        "iss", "aud", "sub", "sid", "jti", "tenant", "roles", "iat", "nbf", "exp",
    ] {
        let token = signed(&server.app, |_, claims| {
            claims.as_object_mut().unwrap().remove(claim);
        });
        assert!(check(&server.app, &token).is_none(), "{claim}");
    }
}

#[tokio::test]
async fn a_token_for_someone_else_is_refused() {
    let server = testing::server().await;
    let wrong = [
        ("iss", json!("urn:keyferry:other")),
        ("aud", json!("other")),
        ("aud", json!(["keyferry"])),
        ("nbf", json!(i64::MAX)),
        ("exp", json!(0)),
        ("roles", json!([])),
        ("sub", json!("x")),
    ];
    for (claim, value) in wrong {
        let token = signed(&server.app, |_, claims| claims[claim] = value.clone());
        assert!(check(&server.app, &token).is_none(), "{claim}: {value}");
    }
}

#[tokio::test]
async fn the_algorithm_is_never_negotiated() {
    for config in [Config::for_tests(), hs256()] {
        let server = testing::server_with(config).await;
        for (field, value) in [
            ("alg", "none"),
            ("alg", "RS256"),
            ("typ", "JWT"),
            ("kid", "x"),
        ] {
            let token = signed(&server.app, |header, _| header[field] = json!(value));
            assert!(check(&server.app, &token).is_none(), "{field}: {value}");
        }
        let extra = signed(&server.app, |header, _| header["jwk"] = json!({}));
        assert!(check(&server.app, &extra).is_none());
    }
}

#[tokio::test]
async fn every_changed_byte_is_noticed() {
    for config in [Config::for_tests(), hs256()] {
        let server = testing::server_with(config).await;
        let token = issue(&server.app, &bearer()).unwrap();
        for at in 0..token.len() {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(check(&server.app, &changed).is_none(), "byte {at}");
        }
        assert!(check(&server.app, &format!("{}=", *token)).is_none());
    }
}

#[tokio::test]
async fn another_servers_token_is_refused() {
    let (one, other) = (testing::server().await, testing::server().await);
    let token = issue(&one.app, &bearer()).unwrap();
    assert!(check(&other.app, &token).is_none());
}
