use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::start::SettingUp;
use super::{confirm_totp, remove_totp, renew_recovery_codes, show_mfa, start_totp};
use crate::accounts::change_password;
use crate::base32;
use crate::error::ApiError;
use crate::sessions::{SignedIn, sign_in, sign_out, verify_mfa};
use crate::testing::{ORIGIN, Recipient, Server, server};

/// An authenticator app, written from the RFC alone.
struct App([u8; 20]);

impl App {
    fn code(&self, server: &Server) -> String {
        let step = server.app.clock.now().seconds() / 30;
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let at = usize::from(tag.as_ref()[19] & 15);
        let word = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap());
        format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
    }

    fn wrong_code(&self, server: &Server) -> String {
        let number: u32 = self.code(server).parse().unwrap();
        format!("{:06}", (number + 7) % 1_000_000)
    }
}

fn shown(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

fn typed<T: serde::de::DeserializeOwned>(code: &str) -> T {
    serde_json::from_value(json!({ "code": code })).unwrap()
}

fn code<T>(result: Result<T, ApiError>) -> Option<&'static str> {
    result.err().map(|refused| refused.code())
}

fn proof<T: serde::de::DeserializeOwned>() -> T {
    serde_json::from_value(json!({ "current_password": "SecurePass123!" })).unwrap()
}

/// A user with an app and recovery codes, half a minute later.
async fn with_app(server: &Server, name: &str) -> (SignedIn, App, Vec<String>) {
    let caller = server.user(name).await;
    let new = shown(
        start_totp(&server.app, &ORIGIN, &caller, proof())
            .await
            .unwrap(),
    );
    let secret = new["secret"].as_str().unwrap();
    let app = App(*base32::decode(secret).unwrap());
    let url = new["otpauth_url"].as_str().unwrap();
    assert!(url.starts_with(&format!("otpauth://totp/Keyferry:{name}?secret={secret}&")));
    let codes = confirm_totp(&server.app, &caller, typed(&app.code(server))).await;
    let codes = shown(codes.unwrap());
    let codes = codes["recovery_codes"].as_array().unwrap();
    let codes = codes.iter().map(|code| code.as_str().unwrap().to_owned());
    server.clock.advance(Duration::from_secs(30));
    (caller, app, codes.collect())
}

async fn password(server: &Server, name: &str) -> Value {
    let claim = json!({ "username": name, "password": "SecurePass123!" });
    let claim = serde_json::from_value(claim).unwrap();
    shown(sign_in(&server.app, &ORIGIN, claim).await.unwrap())
}

async fn second(server: &Server, owed: &Value, code: &str) -> Result<Value, ApiError> {
    let factor = json!({ "mfa_token": owed["mfa_token"], "code": code });
    let factor = serde_json::from_value(factor).unwrap();
    verify_mfa(&server.app, &ORIGIN, factor).await.map(shown)
}

#[tokio::test]
async fn a_login_needs_the_code_of_the_app() {
    let server = server().await;
    let (_, app, _) = with_app(&server, "ada").await;
    let owed = password(&server, "ada").await;
    assert_eq!(owed["mfa_required"], true);
    assert!(owed.get("access_token").is_none());
    let wrong = second(&server, &owed, &app.wrong_code(&server)).await;
    assert_eq!(code(wrong), Some("invalid_code"));
    let entered = second(&server, &owed, &app.code(&server)).await.unwrap();
    assert!(entered["access_token"].is_string());
    server.clock.advance(Duration::from_secs(30));
    let again = second(&server, &owed, &app.code(&server)).await;
    assert_eq!(code(again), Some("invalid_mfa_token"));
}

#[tokio::test]
async fn the_second_step_of_a_login_gives_the_keys_that_its_user_may_read() {
    let server = server().await;
    let (ada, app, _) = with_app(&server, "ada").await;
    let key =
        json!({ "provider": "openai", "value": "sk-a-value", "policy": { "delivery": "raw" } });
    let key = serde_json::from_value(key).unwrap();
    let name = "openai".parse().unwrap();
    crate::vault::put(&server.app, &ada, name, key)
        .await
        .unwrap();
    let recipient = Recipient::new();
    let step = async |public_key: Value, right: bool| {
        let owed = password(&server, "ada").await;
        assert!(owed.get("encrypted_api_keys").is_none());
        let code = if right {
            app.code(&server)
        } else {
            app.wrong_code(&server)
        };
        let step = json!({
            "mfa_token": owed["mfa_token"], "code": code, "public_key": public_key
        });
        let step = serde_json::from_value(step).unwrap();
        let answer = verify_mfa(&server.app, &ORIGIN, step).await.map(shown);
        server.clock.advance(Duration::from_secs(30));
        answer
    };
    assert_eq!(
        code(step(json!(recipient.public_key), false).await),
        Some("invalid_code")
    );
    let answer = step(json!(recipient.public_key), true).await.unwrap();
    assert_eq!(recipient.openai_in(ada.user_id(), &answer), b"sk-a-value");
    let without = step(Value::Null, true).await.unwrap();
    assert_eq!(without["encrypted_api_keys"], Value::Null);
}

#[tokio::test]
async fn a_code_counts_once_however_it_is_written() {
    let server = server().await;
    let (_, app, _) = with_app(&server, "ada").await;
    let (one, other) = (
        password(&server, "ada").await,
        password(&server, "ada").await,
    );
    let plain = app.code(&server);
    let spaced = format!(" {} {} ", &plain[..3], &plain[3..]);
    let (first, second_) = tokio::join!(
        second(&server, &one, &plain),
        second(&server, &other, &spaced)
    );
    assert!(first.is_ok() != second_.is_ok());
    let third = password(&server, "ada").await;
    assert_eq!(
        code(second(&server, &third, &plain).await),
        Some("invalid_code")
    );
}

#[tokio::test]
async fn a_recovery_code_stands_once_for_the_app() {
    let server = server().await;
    let (caller, _, codes) = with_app(&server, "ada").await;
    assert_eq!(codes.len(), 10);
    let owed = password(&server, "ada").await;
    let loud = codes[0].to_uppercase().replace('-', " ");
    second(&server, &owed, &loud).await.unwrap();
    let left = shown(show_mfa(&server.app, &caller).await.unwrap());
    assert_eq!(left, json!({ "totp": true, "recovery_codes_left": 9 }));
    let owed = password(&server, "ada").await;
    let again = second(&server, &owed, &codes[0]).await;
    assert_eq!(code(again), Some("invalid_code"));
    let (_, _, foreign) = with_app(&server, "eve").await;
    let stolen = second(&server, &owed, &foreign[0]).await;
    assert_eq!(code(stolen), Some("invalid_code"));
}

#[tokio::test]
async fn new_recovery_codes_void_the_old_ones() {
    let server = server().await;
    let (caller, app, old) = with_app(&server, "ada").await;
    let renewed = renew_recovery_codes(&server.app, &caller, typed(&app.code(&server))).await;
    let renewed = shown(renewed.unwrap());
    let owed = password(&server, "ada").await;
    assert_eq!(
        code(second(&server, &owed, &old[0]).await),
        Some("invalid_code")
    );
    let new = renewed["recovery_codes"][9].as_str().unwrap();
    second(&server, &owed, new).await.unwrap();
}

#[tokio::test]
async fn one_password_gives_five_tries() {
    let server = server().await;
    let (_, app, _) = with_app(&server, "ada").await;
    let owed = password(&server, "ada").await;
    for _ in 0..5 {
        let wrong = second(&server, &owed, &app.wrong_code(&server)).await;
        assert_eq!(code(wrong), Some("invalid_code"));
    }
    let late = second(&server, &owed, &app.code(&server)).await;
    assert_eq!(code(late), Some("invalid_mfa_token"));
}

#[tokio::test]
async fn many_wrong_codes_pause_the_app_but_not_the_recovery_codes() {
    let server = server().await;
    let (_, app, codes) = with_app(&server, "ada").await;
    for _ in 0..2 {
        let owed = password(&server, "ada").await;
        for _ in 0..5 {
            let wrong = second(&server, &owed, &app.wrong_code(&server)).await;
            assert_eq!(code(wrong), Some("invalid_code"));
        }
    }
    let owed = password(&server, "ada").await;
    let right = second(&server, &owed, &app.code(&server)).await;
    assert_eq!(code(right), Some("rate_limited"));
    second(&server, &owed, &codes[0]).await.unwrap();
    server.clock.advance(Duration::from_secs(15 * 60));
    let owed = password(&server, "ada").await;
    second(&server, &owed, &app.code(&server)).await.unwrap();
}

#[tokio::test]
async fn a_second_step_is_over_after_five_minutes() {
    let server = server().await;
    let (_, app, _) = with_app(&server, "ada").await;
    let owed = password(&server, "ada").await;
    server.clock.advance(Duration::from_secs(300));
    let late = second(&server, &owed, &app.code(&server)).await;
    assert_eq!(code(late), Some("invalid_mfa_token"));
}

#[tokio::test]
async fn an_app_counts_only_once_it_is_confirmed() {
    let server = server().await;
    let caller = server.user("ada").await;
    start_totp(&server.app, &ORIGIN, &caller, proof())
        .await
        .unwrap();
    let refused = confirm_totp(&server.app, &caller, typed("000000")).await;
    assert_eq!(code(refused), Some("invalid_code"));
    assert!(password(&server, "ada").await["access_token"].is_string());
}

#[tokio::test]
async fn an_app_is_removed_only_with_a_code_and_not_replaced_without() {
    let server = server().await;
    let (caller, app, _) = with_app(&server, "ada").await;
    let replaced = start_totp(&server.app, &ORIGIN, &caller, proof()).await;
    assert_eq!(code(replaced), Some("already_exists"));
    let wrong = app.wrong_code(&server);
    let refused = remove_totp(&server.app, &caller, typed(&wrong)).await;
    assert_eq!(code(refused), Some("invalid_code"));
    remove_totp(&server.app, &caller, typed(&app.code(&server)))
        .await
        .unwrap();
    assert!(password(&server, "ada").await["access_token"].is_string());
}

#[tokio::test]
async fn a_new_password_ends_logins_that_the_old_one_began() {
    let server = server().await;
    let (caller, app, _) = with_app(&server, "ada").await;
    let owed = password(&server, "ada").await;
    let new = json!({
        "current_password": "SecurePass123!", "new_password": "Copper-Meadow-4-Whistle",
    });
    let new = serde_json::from_value(new).unwrap();
    change_password(&server.app, &ORIGIN, &caller, new)
        .await
        .unwrap();
    let late = second(&server, &owed, &app.code(&server)).await;
    assert_eq!(code(late), Some("invalid_mfa_token"));
}

#[tokio::test]
async fn a_session_alone_sets_no_second_factor_up() {
    let server = server().await;
    let ada = server.user("ada").await;
    let wrong = serde_json::from_value(json!({ "current_password": "a guess" })).unwrap();
    let refused = start_totp(&server.app, &ORIGIN, &ada, wrong).await;
    assert_eq!(code(refused), Some("invalid_input"));
    assert!(serde_json::from_value::<SettingUp>(json!({})).is_err());
}

#[tokio::test]
async fn of_too_many_logins_that_owe_a_factor_the_oldest_is_over() {
    let server = server().await;
    let (_, app, _) = with_app(&server, "ada").await;
    let oldest = password(&server, "ada").await;
    server.clock.advance(Duration::from_secs(1));
    let next = password(&server, "ada").await;
    for _ in 0..9 {
        server.clock.advance(Duration::from_secs(1));
        password(&server, "ada").await;
    }
    let refused = second(&server, &oldest, &app.code(&server)).await;
    assert_eq!(code(refused), Some("invalid_mfa_token"));
    second(&server, &next, &app.code(&server)).await.unwrap();
}

#[tokio::test]
async fn a_session_that_ended_meanwhile_changes_no_second_factor() {
    let server = server().await;
    let (caller, app, codes) = with_app(&server, "ada").await;
    sign_out(&server.app, &caller).await.unwrap();
    let renewed = renew_recovery_codes(&server.app, &caller, typed(&codes[0])).await;
    assert_eq!(code(renewed), Some("unauthenticated"));
    let removed = remove_totp(&server.app, &caller, typed(&app.code(&server))).await;
    assert_eq!(code(removed), Some("unauthenticated"));
    assert_eq!(password(&server, "ada").await["mfa_required"], true);

    let eve = server.user("eve").await;
    sign_out(&server.app, &eve).await.unwrap();
    let started = start_totp(&server.app, &ORIGIN, &eve, proof()).await;
    assert_eq!(code(started), Some("unauthenticated"));
}
