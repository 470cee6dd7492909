//! Invitations by mail.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::reach::Reach;
use super::roles::role_named;
use crate::accounts::Email;
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::limits;
use crate::mail::Mail;
use crate::page::{List, Page};
use crate::sessions::opaque::{OpaqueToken, Purpose};
use crate::sessions::{Permission, SignedIn};
use crate::store::{
    InvitationId, NewInvitation, StoreError, StoredInvitation, Transaction, UnixTime, UserId,
};

/// The body of `POST /invitations`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewInvite {
    #[schemars(regex(pattern = Email::PATTERN), length(max = 100))]
    email: String,
    role: String,
}

/// An open invitation; the token in its mail is nowhere else.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Invitation {
    id: InvitationId,
    email: String,
    role: String,
    invited_by: Option<UserId>,
    created_at: UnixTime,
    expires_at: UnixTime,
}

impl From<NewInvitation> for Invitation {
    fn from(new: NewInvitation) -> Self {
        Self {
            id: new.id,
            email: new.email.text().to_owned(),
            role: new.role,
            invited_by: Some(new.invited_by),
            created_at: new.created_at,
            expires_at: new.expires_at,
        }
    }
}

impl From<StoredInvitation> for Invitation {
    fn from(stored: StoredInvitation) -> Self {
        Self {
            id: stored.id,
            email: stored.email,
            role: stored.role,
            invited_by: stored.invited_by,
            created_at: stored.created_at,
            expires_at: stored.expires_at,
        }
    }
}

/// Invites an address into the caller's tenant, in place of an earlier invitation.
pub(crate) async fn invite(
    app: &App,
    caller: &SignedIn,
    new: NewInvite,
) -> Result<Invitation, ApiError> {
    let email: Email = new.email.parse()?;
    let (tenant, now) = (caller.tenant_id(), app.clock.now());
    limits::invitation(app, tenant, email.text()).await?;
    let mut change = app.store.begin().await?;
    let reach = Reach::hold(&mut change, caller, Permission::UserAdmin).await?;
    let role = role_named(&mut change, caller, &new.role).await?;
    reach.require(&role)?;
    if change.count_invitations(tenant, now).await? >= MOST {
        return Err(ApiError::TooMany);
    }
    let token = OpaqueToken::random(&mut app.rng());
    let invitation = NewInvitation {
        id: InvitationId::new(now, &mut app.rng()),
        tenant,
        email,
        role: role.name().to_owned(),
        token_hash: token.hash(),
        invited_by: caller.user_id(),
        created_at: now,
        expires_at: now + LIFE,
    };
    change.put_invitation(&invitation).await?;
    let detail = json!({ "role": invitation.role });
    note(
        app,
        &mut change,
        caller,
        ("invitation.add", invitation.id, detail),
    )
    .await?;
    change.commit().await?;
    post(app, caller, invitation.email.clone(), &token).await?;
    Ok(invitation.into())
}

async fn note(
    app: &App,
    change: &mut Transaction,
    caller: &SignedIn,
    (action, invitation, detail): (&'static str, InvitationId, Value),
) -> Result<(), StoreError> {
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action,
        subject: Some(&invitation.to_string()),
        detail,
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await
}

/// The open invitations of the caller's tenant.
pub(crate) async fn invitations(
    app: &App,
    caller: &SignedIn,
    page: &Page,
) -> Result<List<Invitation>, ApiError> {
    caller.require(Permission::UserAdmin)?;
    let open = (caller.tenant_id(), app.clock.now());
    let stored = app
        .store
        .invitations(open, page.after_id_or_first()?, page.rows())
        .await?;
    let invitations = stored.into_iter().map(Invitation::from).collect();
    Ok(List::new(invitations, page, |one| one.id.to_string()))
}

/// Withdraws an invitation: its mail leads nowhere from now on.
pub(crate) async fn withdraw(
    app: &App,
    caller: &SignedIn,
    id: InvitationId,
) -> Result<(), ApiError> {
    let mut change = app.store.begin().await?;
    Reach::hold(&mut change, caller, Permission::UserAdmin).await?;
    if !change.delete_invitation(caller.tenant_id(), id).await? {
        return Err(ApiError::NotFound);
    }
    note(
        app,
        &mut change,
        caller,
        ("invitation.withdraw", id, json!({})),
    )
    .await?;
    Ok(change.commit().await?)
}

async fn post(
    app: &App,
    caller: &SignedIn,
    to: Email,
    token: &OpaqueToken,
) -> Result<(), ApiError> {
    let stored = app
        .store
        .membership(caller.tenant_id(), caller.user_id())
        .await?;
    let tenant = stored.ok_or(ApiError::NotFound)?.name;
    let token = token.text(Purpose::Invitation);
    let server = app.public_urls.first().map_or("", String::as_str);
    let text = Zeroizing::new(format!(
        "You are invited to join {tenant} at {server}.\n\n\
         Sign in (or register first), then run `keyferry invitations accept`, which asks for this\n\
         token, or send it to POST {server}/invitations/accept:\n\n    {token}\n\n\
         It counts for seven days. If you expected no invitation, ignore this mail.\n",
        token = *token
    ));
    app.mailer
        .post(Mail::new(to, "An invitation to Keyferry", text));
    Ok(())
}

/// Open ones of one tenant.
const MOST: i64 = 500;
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
