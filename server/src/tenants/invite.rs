//! Invitations by mail.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::require_reach;
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
use crate::store::{InvitationId, NewInvitation, StoredInvitation, UnixTime, UserId};

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
    caller.require(Permission::UserAdmin)?;
    let email: Email = new.email.parse()?;
    limits::invitation(app, caller.tenant_id(), email.text()).await?;
    let mut change = app.store.begin().await?;
    change.hold_tenant(caller.tenant_id()).await?;
    let role = role_named(&mut change, caller, &new.role).await?;
    require_reach(caller, &role)?;
    let token = OpaqueToken::random(&mut app.rng());
    let now = app.clock.now();
    let invitation = NewInvitation {
        id: InvitationId::new(now, &mut app.rng()),
        tenant: caller.tenant_id(),
        email: email.clone(),
        role: role.name().to_owned(),
        token_hash: token.hash(),
        invited_by: caller.user_id(),
        created_at: now,
        expires_at: now + LIFE,
    };
    change.put_invitation(&invitation).await?;
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "invitation.add",
        subject: Some(&invitation.id.to_string()),
        detail: json!({ "role": invitation.role }),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    post(app, caller, email, &token).await?;
    Ok(Invitation {
        id: invitation.id,
        email: invitation.email.text().to_owned(),
        role: invitation.role,
        invited_by: Some(invitation.invited_by),
        created_at: now,
        expires_at: invitation.expires_at,
    })
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
    caller.require(Permission::UserAdmin)?;
    let mut change = app.store.begin().await?;
    if !change.delete_invitation(caller.tenant_id(), id).await? {
        return Err(ApiError::NotFound);
    }
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "invitation.withdraw",
        subject: Some(&id.to_string()),
        detail: json!({}),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    Ok(())
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

const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
