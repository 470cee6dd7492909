//! Requests as a person finds them: by the code on the machine's screen, or in the tenant's list.

use keyferry_protocol::approval::UserCode;

use super::Enrolment;
use crate::app::App;
use crate::error::ApiError;
use crate::limits;
use crate::page::{List, Page};
use crate::sessions::{Permission, SignedIn};
use crate::store::StoredEnrolment;

/// Those that name the caller's tenant, or that it has decided.
pub(crate) async fn list(
    app: &App,
    caller: &SignedIn,
    page: &Page,
) -> Result<List<Enrolment>, ApiError> {
    caller.require(Permission::VmEnroll)?;
    let open = (caller.tenant_id(), app.clock.now());
    let stored = app
        .store
        .enrolments(open, page.after_id_or_first()?, page.rows())
        .await?;
    let enrolments: Result<Vec<_>, _> = stored.into_iter().map(Enrolment::of).collect();
    Ok(List::new(enrolments?, page, |one| one.id.to_string()))
}

/// The request of this code.
pub(crate) async fn show(
    app: &App,
    caller: &SignedIn,
    code: UserCode,
) -> Result<Enrolment, ApiError> {
    Enrolment::of(named(app, caller, &code).await?)
}

/// The same for who decides it. Wrong codes are counted: nobody tries them all.
pub(super) async fn named(
    app: &App,
    caller: &SignedIn,
    code: &UserCode,
) -> Result<StoredEnrolment, ApiError> {
    caller.require(Permission::VmEnroll)?;
    limits::may_guess_code(app, caller.user_id()).await?;
    let now = app.clock.now();
    let found = app
        .store
        .enrolment(caller.tenant_id(), code.letters(), now)
        .await?;
    if found.is_none() {
        limits::guessed_code(app, caller.user_id()).await;
    }
    found.ok_or(ApiError::NotFound)
}
