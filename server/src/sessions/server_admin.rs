//! The proof that a request comes from an admin of this server.

use uuid::Uuid;

use super::SignedIn;
use crate::app::App;
use crate::error::ApiError;
use crate::store::UserId;

/// A signed-in admin of this server. Only this module makes one, and none for an API key.
#[derive(Debug)]
pub(crate) struct ServerAdmin(SignedIn);

impl ServerAdmin {
    pub(crate) const fn user_id(&self) -> UserId {
        self.0.user_id()
    }

    /// The id under which the logs and the audit know this request.
    pub(crate) const fn request_id(&self) -> Uuid {
        self.0.request_id()
    }

    /// The admin's name in the audit.
    pub(crate) fn actor(&self) -> String {
        self.0.actor()
    }
}

/// Refuses a caller who is no admin of this server. It is asked every time.
pub(crate) async fn server_admin(app: &App, caller: SignedIn) -> Result<ServerAdmin, ApiError> {
    caller.session_id()?;
    let is_admin = app.store.is_server_admin(caller.user_id()).await?;
    is_admin
        .then_some(ServerAdmin(caller))
        .ok_or(ApiError::Forbidden)
}
