use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::Exceeded;
use crate::accounts;
use crate::config::Config;
use crate::error::ApiError;
use crate::sessions::{Origin, sign_in};
use crate::testing::{self, Server};

const RIGHT: &str = "SecurePass123!";

fn from(address: &str) -> Origin {
    let address: IpAddr = address.parse().unwrap();
    Origin {
        request_id: Uuid::nil(),
        peer: Some(address),
        user_agent: None,
    }
}

async fn register(server: &Server, address: &str, name: &str) -> Result<(), ApiError> {
    let account =
        json!({ "username": name, "email": format!("{name}@example.org"), "password": RIGHT });
    let account = serde_json::from_value(account).unwrap();
    accounts::register(&server.app, &from(address), account)
        .await
        .map(drop)
}

async fn login(server: &Server, address: &str, name: &str, password: &str) -> Result<(), ApiError> {
    let claim = json!({ "username": name, "password": password });
    let claim = serde_json::from_value(claim).unwrap();
    sign_in(&server.app, &from(address), claim).await.map(drop)
}

async fn fail(server: &Server, address: &str, name: &str) -> &'static str {
    login(server, address, name, "WrongPass123!")
        .await
        .unwrap_err()
        .code()
}

fn wait(refused: Result<(), ApiError>) -> Duration {
    match refused {
        Err(ApiError::RateLimited(Exceeded { wait, .. })) => wait,
        other => panic!("{other:?} is not what a used-up budget looks like"),
    }
}

async fn server() -> Server {
    let server = testing::server().await;
    register(&server, "192.0.2.1", "ada").await.unwrap();
    server
}

#[tokio::test]
async fn after_five_wrong_passwords_even_the_right_one_waits() {
    let server = server().await;
    for _ in 0..5 {
        assert_eq!(
            fail(&server, "198.51.100.1", "ada").await,
            "invalid_credentials"
        );
    }
    assert_eq!(fail(&server, "198.51.100.1", "ada").await, "rate_limited");
    let refused = login(&server, "198.51.100.1", "ada", RIGHT).await;
    assert!(wait(refused) <= Duration::from_secs(900));
    server.clock.advance(Duration::from_secs(900));
    login(&server, "198.51.100.1", "ada", RIGHT).await.unwrap();
}

#[tokio::test]
async fn an_address_that_fails_with_many_names_waits() {
    let server = server().await;
    for name in ["one", "two", "three", "four", "five"] {
        assert_eq!(
            fail(&server, "2001:db8::1", name).await,
            "invalid_credentials"
        );
    }
    assert_eq!(fail(&server, "2001:db8::ffff", "six").await, "rate_limited");
    assert_eq!(
        fail(&server, "2001:db8:0:1::1", "six").await,
        "invalid_credentials"
    );
}

#[tokio::test]
async fn a_neighbourhood_is_locked_out_of_one_account_only() {
    let server = server().await;
    register(&server, "192.0.2.1", "eve").await.unwrap();
    for host in 1..=5 {
        let address = format!("198.51.100.{host}");
        assert_eq!(fail(&server, &address, "ada").await, "invalid_credentials");
    }
    let locked = wait(login(&server, "198.51.100.6", "ADA", RIGHT).await);
    assert_eq!(locked, Duration::from_secs(900));
    login(&server, "198.51.100.6", "eve", RIGHT).await.unwrap();
    login(&server, "203.0.113.1", "ada", RIGHT).await.unwrap();
}

#[tokio::test]
async fn an_unknown_account_locks_like_a_known_one() {
    let server = server().await;
    for name in ["ada", "nobody"] {
        let mut codes = Vec::new();
        for host in 1..=7 {
            let net = if name == "ada" {
                "198.51.100"
            } else {
                "203.0.113"
            };
            codes.push(fail(&server, &format!("{net}.{host}"), name).await);
        }
        assert_eq!(codes[..5], ["invalid_credentials"; 5], "{name}");
        assert_eq!(codes[5..], ["rate_limited"; 2], "{name}");
    }
}

#[tokio::test]
async fn success_is_no_failure_and_ends_the_count() {
    let server = server().await;
    for _ in 0..3 {
        for host in 1..=4 {
            fail(&server, &format!("198.51.100.{host}"), "ada").await;
        }
        login(&server, "198.51.100.9", "ada", RIGHT).await.unwrap();
        server.clock.advance(Duration::from_secs(900));
    }
    for _ in 0..20 {
        login(&server, "198.51.100.9", "ada", RIGHT).await.unwrap();
    }
}

#[tokio::test]
async fn strangers_everywhere_do_not_lock_the_owner_out_at_home() {
    let mut config = Config::for_tests();
    config.limits.account_failures = 10;
    let server = testing::server_with(config).await;
    register(&server, "192.0.2.1", "ada").await.unwrap();
    for net in 1..=10 {
        fail(&server, &format!("198.51.{net}.1"), "ada").await;
    }
    wait(login(&server, "203.0.113.1", "ada", RIGHT).await);
    login(&server, "192.0.2.77", "ada", RIGHT).await.unwrap();
}

#[tokio::test]
async fn many_tries_at_once_are_no_way_around() {
    let server = server().await;
    let tries = (0..20).map(|number| {
        let password = if number == 10 { RIGHT } else { "WrongPass123!" };
        login(&server, "198.51.100.1", "ada", password)
    });
    let codes: Vec<_> = futures_util::future::join_all(tries)
        .await
        .into_iter()
        .map(|outcome| outcome.map_or_else(|refused| refused.code(), |()| "in"))
        .collect();
    let told = codes
        .iter()
        .filter(|code| **code == "invalid_credentials")
        .count();
    assert!(told <= 5, "{codes:?}");
    assert!(!codes.contains(&"in") || told == 5, "{codes:?}");
}

#[tokio::test]
async fn a_stranger_registers_three_accounts_an_hour() {
    let server = server().await;
    for name in ["b-two", "c-three"] {
        register(&server, "192.0.2.1", name).await.unwrap();
    }
    let refused = register(&server, "192.0.2.1", "d-four").await;
    assert_eq!(wait(refused), Duration::from_secs(1_200));
    register(&server, "192.0.2.2", "d-four").await.unwrap();
    server.clock.advance(Duration::from_secs(1_200));
    register(&server, "192.0.2.1", "e-five").await.unwrap();
}

#[tokio::test]
async fn mails_are_bounded_by_address_and_by_account() {
    let server = server().await;
    let mail = async |address: &str, to: &str| super::mail(&server.app, &from(address), to).await;
    for to in ["a@x", "b@x", "c@x"] {
        mail("198.51.100.1", to).await.unwrap();
    }
    wait(mail("198.51.100.1", "d@x").await);
    for host in 2..=3 {
        mail(&format!("198.51.100.{host}"), "A@X").await.unwrap();
    }
    wait(mail("198.51.100.4", "a@x").await);
}

#[tokio::test]
async fn refusals_of_strangers_do_not_fill_the_audit() {
    let server = testing::server().await;
    let mut written = 0;
    while let Some(recorded) = super::refusal_to_record(&server.app, "agent").await {
        written += 1;
        let last = recorded == super::Recorded::LastForNow;
        assert_eq!(last, written == 1_000);
    }
    assert_eq!(written, 1_000);
}

#[tokio::test]
async fn an_account_has_one_budget_under_all_its_names() {
    let server = server().await;
    let by_email = json!({ "email": "ADA@example.org", "password": "WrongPass123!" });
    for host in 1..=5 {
        let address = format!("198.51.100.{host}");
        if host % 2 == 0 {
            assert_eq!(fail(&server, &address, "ada").await, "invalid_credentials");
        } else {
            let claim = serde_json::from_value(by_email.clone()).unwrap();
            let refused = sign_in(&server.app, &from(&address), claim).await;
            assert_eq!(refused.err().unwrap().code(), "invalid_credentials");
        }
    }
    let locked = wait(login(&server, "198.51.100.6", "ada", RIGHT).await);
    assert_eq!(locked, Duration::from_secs(900));
}

#[tokio::test]
async fn without_lockout_only_the_address_waits() {
    let pairs = [
        ("AUTH_ENABLE_ACCOUNT_LOCKOUT", "false"),
        ("AUTH_PASSWORD_HASH_ROUNDS", "10"),
    ];
    let config = Config::parse(&crate::config::Sources::from_pairs(pairs)).unwrap();
    let server = testing::server_with(config).await;
    register(&server, "192.0.2.1", "ada").await.unwrap();
    for _ in 0..5 {
        assert_eq!(
            fail(&server, "198.51.100.1", "ada").await,
            "invalid_credentials"
        );
    }
    wait(login(&server, "198.51.100.1", "ada", RIGHT).await);
    login(&server, "198.51.100.2", "ada", RIGHT).await.unwrap();
}
