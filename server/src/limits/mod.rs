//! How often anyone may try: budgets by address, user and tenant, and lockout after wrong passwords.

mod attempt;
mod counters;
mod gcra;
mod turned_away;

use std::time::Duration;

pub(crate) use attempt::{Attempt, account_key};
pub(crate) use counters::Counters;
pub(crate) use gcra::{Quota, Standing};
pub(crate) use turned_away::proof;

use crate::app::App;
use crate::error::ApiError;
use crate::network::Network;
use crate::sessions::{Member, Origin};
use crate::store::{SessionId, TenantId, UserId, VmId};
use turned_away::Asker;

/// A budget is used up; until when, its owner may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("There were too many requests of this kind; try again later.")]
pub(crate) struct Exceeded {
    pub(crate) quota: Quota,
    /// Until the next try.
    pub(crate) wait: Duration,
}

/// Bounds registrations from one address.
pub(crate) async fn registration(app: &App, origin: &Origin) -> Result<(), ApiError> {
    take_for_address(app, "register", app.config.limits.registrations, origin).await
}

/// Bounds the agents of one address that ask to be approved.
pub(crate) async fn enrolment(app: &App, origin: &Origin) -> Result<(), ApiError> {
    take_for_address(app, "enrolment", app.config.limits.enrolments, origin).await
}

/// Whether a user may name one more code of a waiting agent, after wrong ones.
pub(crate) async fn may_guess_code(app: &App, user: UserId) -> Result<(), ApiError> {
    let now = app.clock.now();
    app.counters
        .look(&guesses(user), GUESSES, now)
        .await
        .opens()
}

/// Counts a code that no agent shows.
pub(crate) async fn guessed_code(app: &App, user: UserId) {
    let now = app.clock.now();
    app.counters.charge(guesses(user), GUESSES, now).await;
}

fn guesses(user: UserId) -> String {
    format!("code:{user}")
}

/// Bounds how often one user takes their data away, which is a lot to read.
pub(crate) async fn export(app: &App, user: UserId) -> Result<(), ApiError> {
    let quota = app.config.limits.requests.then_some(EXPORTS);
    take(app, format!("export:{user}"), quota).await
}

/// Bounds sign-ins at providers that one address begins.
pub(crate) async fn provider_sign_in(app: &App, origin: &Origin) -> Result<(), ApiError> {
    take_for_address(app, "provider", Some(PROVIDER_SIGN_INS), origin).await
}

/// Bounds refreshes of one user.
pub(crate) async fn refresh(app: &App, origin: &Origin, member: Member) -> Result<(), ApiError> {
    let (asker, whose) = (Asker::member(origin, member), member.user.to_string());
    let quota = app.config.limits.refreshes;
    take_told(app, &asker, (("refresh", &whose), quota)).await
}

/// Whether one more use of a refresh token that was used just now is written down.
pub(crate) async fn repeat_to_record(app: &App, session: SessionId) -> bool {
    let name = format!("repeat:{session}");
    let standing = app.counters.take(name, REPEATS, app.clock.now());
    standing.await.is_open()
}

/// Bounds mails that strangers make the server send: from one address, and to one account, which
/// is whatever was asked for, so that an unknown one looks like a known one.
pub(crate) async fn mail(app: &App, origin: &Origin, account: &str) -> Result<(), ApiError> {
    let quota = app.config.limits.mails;
    take_for_address(app, "mail", quota, origin).await?;
    let whose = account.to_lowercase();
    take_told(app, &Asker::at(origin), (("mail-to", &whose), quota)).await
}

/// Bounds mails to addresses that one user names as their own.
pub(crate) async fn mail_by(app: &App, origin: &Origin, member: Member) -> Result<(), ApiError> {
    let (asker, whose) = (Asker::member(origin, member), member.user.to_string());
    let quota = app.config.limits.mails;
    take_told(app, &asker, (("mail-by", &whose), quota)).await
}

/// Bounds invitations that a tenant sends, and those that one address gets from all tenants.
pub(crate) async fn invitation(app: &App, tenant: TenantId, to: &str) -> Result<(), ApiError> {
    let limits = &app.config.limits;
    take(app, format!("invite:{tenant}"), limits.invitations).await?;
    take(
        app,
        format!("invite-to:{}", to.to_lowercase()),
        limits.mails,
    )
    .await
}

/// Counts a request against what the tenant's plan allows in a minute, and tells what is left.
pub(crate) async fn request(
    app: &App,
    tenant: TenantId,
    per_minute: Option<u32>,
) -> Result<Option<Standing>, ApiError> {
    let Some(most) = per_minute.filter(|_| app.config.limits.requests) else {
        return Ok(None);
    };
    let (name, quota) = (format!("requests:{tenant}"), Quota::new(most, MINUTE));
    let before = app.counters.take(name, quota, app.clock.now()).await;
    before.opens()?;
    Ok(Some(Standing {
        remaining: before.remaining - 1,
        ..before
    }))
}

/// Whether one more refusal of a stranger is written down, so that nobody fills the audit. The
/// last one before a pause says that more may have followed.
pub(crate) async fn refusal_to_record(app: &App, kind: &str) -> Option<Recorded> {
    let name = format!("refusal:{kind}");
    let standing = app.counters.take(name, REFUSALS, app.clock.now()).await;
    match standing.remaining {
        0 => None,
        1 => Some(Recorded::LastForNow),
        _ => Some(Recorded::Alone),
    }
}

/// Whether the signing keys may be read again because a token names one that is not known.
pub(crate) async fn reading_of_keys(app: &App) -> bool {
    let name = "signing-keys".to_owned();
    app.counters
        .take(name, READINGS, app.clock.now())
        .await
        .is_open()
}

/// Whether it is written down that a session comes from elsewhere: once an hour.
pub(crate) async fn note_of_move(app: &App, session: SessionId) -> bool {
    let name = format!("moved:{session}");
    app.counters
        .take(name, MOVES, app.clock.now())
        .await
        .is_open()
}

/// Whether one more access that a machine's agent tells of gets an event of its own. A machine is on
/// one server at a time: each counts by itself, for there are many.
pub(crate) fn access(app: &App, vm: VmId) -> bool {
    let name = format!("access:{vm}");
    let standing = app.counters.take_here(name, ACCESSES, app.clock.now());
    standing.is_open()
}

/// How a refusal is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It stands for itself.
    Alone,
    /// Others that follow soon are not written down.
    LastForNow,
}

async fn take_for_address(
    app: &App,
    kind: &str,
    quota: Option<Quota>,
    origin: &Origin,
) -> Result<(), ApiError> {
    // The operator's own commands have no address.
    let Some(address) = origin.peer else {
        return Ok(());
    };
    let whose = Network::of_client(address).to_string();
    take_told(app, &Asker::at(origin), ((kind, &whose), quota)).await
}

/// Takes one from the budget of somebody; that it is used up is written down.
async fn take_told(
    app: &App,
    asker: &Asker<'_>,
    (budget, quota): ((&str, &str), Option<Quota>),
) -> Result<(), ApiError> {
    let said = take(app, format!("{}:{}", budget.0, budget.1), quota).await;
    asker.hears(app, budget, said).await
}

async fn take(app: &App, name: String, quota: Option<Quota>) -> Result<(), ApiError> {
    match quota {
        Some(quota) => app
            .counters
            .take(name, quota, app.clock.now())
            .await
            .opens(),
        None => Ok(()),
    }
}

impl Standing {
    fn opens(&self) -> Result<(), ApiError> {
        if self.is_open() {
            return Ok(());
        }
        Err(ApiError::RateLimited(Exceeded {
            quota: self.quota,
            wait: self.wait,
        }))
    }
}

const EXPORTS: Quota = Quota::new(10, Duration::from_secs(3_600));
/// Wrong codes of waiting agents.
const GUESSES: Quota = Quota::new(10, Duration::from_secs(600));
/// An agent tells every ten seconds; this is 50 users and keys, all the time.
const ACCESSES: Quota = Quota::new(3_000, Duration::from_secs(600));
const MINUTE: Duration = Duration::from_secs(60);
const PROVIDER_SIGN_INS: Quota = Quota::new(30, Duration::from_secs(900));
const REPEATS: Quota = Quota::new(10, Duration::from_secs(60));
const MOVES: Quota = Quota::new(1, Duration::from_secs(3_600));
/// Tokens with invented keys do not cost a query each.
const READINGS: Quota = Quota::new(5, Duration::from_secs(5));
/// More refusals than this are an attack, of which the first thousand say enough.
const REFUSALS: Quota = Quota::new(1_000, Duration::from_secs(3_600));

#[cfg(test)]
mod tests;
