//! Accounts, through their use cases.

mod by_mail;
mod closing;
mod passwords;
mod profile;

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    add_api_key, change_me, change_password, close_me, export_me, forgot_password, register,
    resend_verification, reset_password, start_totp, verify_email,
};
use crate::config::Config;
use crate::error::ApiError;
use crate::sessions::{Brought, Origin, SignedIn, admit, sign_in, sign_out_everywhere, signed_in};
use crate::store::{IdentityId, NewIdentity, TenantId, UserId, sql};
use crate::testing::{ORIGIN, Server, server, server_with};

const MAIL: &str = "ada@example.org";
const OLD: &str = "Violet-Harbour-7-Lantern";
const NEW: &str = "Copper-Meadow-4-Whistle";

fn request<T: serde::de::DeserializeOwned>(body: Value) -> T {
    serde_json::from_value(body).unwrap()
}

async fn register_ada(server: &Server) -> Value {
    let account = json!({ "username": "ada", "email": MAIL, "password": OLD });
    let registered = register(&server.app, &ORIGIN, request(account)).await;
    serde_json::to_value(registered.unwrap()).unwrap()
}

async fn try_password(server: &Server, password: &str) -> Result<Value, ApiError> {
    let claim = json!({ "email": MAIL, "password": password });
    let answer = sign_in(&server.app, &ORIGIN, request(claim)).await?;
    Ok(serde_json::to_value(answer).unwrap())
}

/// The token of the only mail that went out.
async fn mailed_token(server: &Server) -> String {
    let [mail] = server.app.mailer.taken().await.try_into().unwrap();
    assert!(mail.contains("\r\nTo: ada@example.org\r\n"), "{mail}");
    let token = mail
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("kfe_"));
    token.unwrap().to_owned()
}

fn code<T>(result: Result<T, ApiError>) -> Option<&'static str> {
    result.err().map(|refused| refused.code())
}

async fn caller(server: &Server) -> SignedIn {
    let session = register_ada(server).await;
    let bearer = session["session_token"].as_str();
    signed_in(&server.app, &ORIGIN, bearer).await.unwrap()
}

async fn reset(server: &Server, token: &str, password: &str) -> Result<(), ApiError> {
    let body = json!({ "token": token, "new_password": password });
    reset_password(&server.app, &ORIGIN, request(body)).await
}

async fn verify(server: &Server, token: &str) -> Result<(), ApiError> {
    verify_email(&server.app, &ORIGIN, request(json!({ "token": token }))).await
}

async fn forgot(server: &Server, email: &str) {
    let address = request(json!({ "email": email }));
    forgot_password(&server.app, &ORIGIN, address)
        .await
        .unwrap();
}

async fn change(server: &Server, caller: &SignedIn, body: Value) -> Result<Value, ApiError> {
    let changed = change_me(&server.app, &ORIGIN, caller, request(body)).await?;
    Ok(serde_json::to_value(changed).unwrap())
}

async fn become_member(server: &Server, (tenant, user): (TenantId, UserId), role: &str) {
    let mut change = server.app.store.begin().await.unwrap();
    let now = server.app.clock.now();
    change
        .insert_membership((tenant, user), role, now)
        .await
        .unwrap();
    change.commit().await.unwrap();
}
