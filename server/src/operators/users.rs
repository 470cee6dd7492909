//! Accounts, as the admins of this server see and change them.

use schemars::JsonSchema;
use serde::Serialize;

use super::act::{self, Status};
use super::{AccountName, Operator, Search};
use crate::app::App;
use crate::error::ApiError;
use crate::page::List;
use crate::sessions::ServerAdmin;
use crate::store::{StoredAccount, StoredUser, UnixTime, UserId};

/// An account.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Account {
    id: UserId,
    username: Option<String>,
    email: Option<String>,
    full_name: Option<String>,
    /// `active`, `pending` (the e-mail address waits to be verified), `locked` (after failed
    /// logins, toward a network at least) or `disabled`.
    status: String,
    /// Since the last login.
    failed_login_attempts: i32,
    locked_until: Option<UnixTime>,
    email_verified: bool,
    server_admin: bool,
    /// Whether logins ask for a second factor.
    second_factor: bool,
    /// How many tenants the user belongs to.
    tenants: i64,
    created_at: UnixTime,
    last_login_at: Option<UnixTime>,
}

/// The answer to an operator who had a link mailed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ResetMailed {
    message: &'static str,
}

/// The accounts that are looked for, oldest first.
pub(crate) async fn users(
    app: &App,
    _admin: &ServerAdmin,
    search: &Search,
) -> Result<List<Account>, ApiError> {
    let (page, now) = (&search.page, app.clock.now());
    let after = page.after_id_or_first()?;
    let stored = app.store.accounts(after, page.rows(), search.pattern());
    let accounts = stored.await?.into_iter();
    let accounts = accounts.map(|account| Account::at(account, now)).collect();
    Ok(List::new(accounts, page, |account| account.id.to_string()))
}

/// One account.
pub(crate) async fn show_user(
    app: &App,
    _admin: &ServerAdmin,
    name: AccountName,
) -> Result<Account, ApiError> {
    let user = find_account(app, &name).await?;
    account(app, user.id).await
}

/// Lets an account that was locked after failed logins be tried again.
pub(crate) async fn unlock_user(
    app: &App,
    admin: &ServerAdmin,
    name: AccountName,
) -> Result<Account, ApiError> {
    let user = find_account(app, &name).await?;
    act::unlock(app, &Operator::from(admin), &user).await?;
    account(app, user.id).await
}

/// Closes an account and ends its sessions. Nobody closes the one that they act with.
pub(crate) async fn disable_user(
    app: &App,
    admin: &ServerAdmin,
    name: AccountName,
) -> Result<Account, ApiError> {
    let user = find_account(app, &name).await?;
    if user.id == admin.user_id() {
        return Err(ApiError::OwnAccount);
    }
    let closed = (&user, Status::Disabled);
    act::set_status(app, &Operator::from(admin), closed).await?;
    account(app, user.id).await
}

/// Makes a closed account what it was before.
pub(crate) async fn enable_user(
    app: &App,
    admin: &ServerAdmin,
    name: AccountName,
) -> Result<Account, ApiError> {
    let user = find_account(app, &name).await?;
    act::set_status(app, &Operator::from(admin), (&user, Status::Active)).await?;
    account(app, user.id).await
}

/// Mails the account's owner a link to choose a new password.
pub(crate) async fn reset_user_password(
    app: &App,
    admin: &ServerAdmin,
    name: AccountName,
) -> Result<ResetMailed, ApiError> {
    let user = find_account(app, &name).await?;
    act::mail_reset(app, &Operator::from(admin), &user).await?;
    Ok(ResetMailed {
        message: "The link is on its way to the account's address.",
    })
}

/// The account of this name, with the tenant that its owner signs in to.
pub(crate) async fn find_account(app: &App, name: &AccountName) -> Result<StoredUser, ApiError> {
    let found = match name {
        AccountName::Id(id) => app.store.user_by_id(*id).await?,
        AccountName::Username(username) => app.store.user_by_username(username).await?,
        AccountName::Email(email) => app.store.user_by_email(email).await?,
    };
    found.ok_or(ApiError::NotFound)
}

pub(crate) async fn account(app: &App, id: UserId) -> Result<Account, ApiError> {
    let stored = app.store.account(id).await?;
    let account = stored.map(|account| Account::at(account, app.clock.now()));
    account.ok_or(ApiError::NotFound)
}

impl Account {
    fn at(stored: StoredAccount, now: UnixTime) -> Self {
        let locked_until = stored.locked_until.filter(|until| *until > now);
        let locked = locked_until.is_some() && stored.status == "active";
        Self {
            status: if locked {
                "locked".into()
            } else {
                stored.status
            },
            failed_login_attempts: stored.failed_login_attempts,
            locked_until,
            id: stored.id,
            username: stored.username,
            email: stored.email,
            full_name: stored.full_name,
            email_verified: stored.email_verified,
            server_admin: stored.server_admin,
            second_factor: stored.second_factors > 0,
            tenants: stored.tenants,
            created_at: stored.created_at,
            last_login_at: stored.last_login_at,
        }
    }
}
