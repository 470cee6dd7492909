//! A session with an access token that is good now.

use bytes::Bytes;
use hyper::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Session, SessionFile};
use crate::error::CliError;
use crate::rest::{Ask, Events, Fetched, Opened, Problem, Rest, RestError};

/// A signed-in caller of the server.
pub(crate) struct SignedIn {
    rest: Rest,
    session: Session,
}

impl SignedIn {
    /// Takes the stored session, renewed when its access token has ended.
    pub(crate) async fn open(file: &SessionFile, now: OffsetDateTime) -> Result<Self, CliError> {
        let mut session = file.read()?.ok_or(CliError::NotSignedIn)?;
        if !session.is_fresh(now) {
            let held = file.lock()?;
            session = file.read()?.ok_or(CliError::NotSignedIn)?;
            // Another command may have renewed it while we waited for the lock.
            if !session.is_fresh(now) {
                session = renew(&session, now).await?;
                held.write(&session)?;
            }
        }
        Ok(Self {
            rest: session.rest(),
            session,
        })
    }

    pub(crate) fn rest(&self) -> &Rest {
        &self.rest
    }

    pub(crate) fn user_id(&self) -> Uuid {
        self.session.user_id
    }

    /// The session in another tenant that this answer gives.
    pub(crate) fn entered(&self, answer: &Value, now: OffsetDateTime) -> Result<Session, CliError> {
        let session = self.session.succeeded_by(answer, now);
        session.ok_or(CliError::SessionEnded)
    }

    /// Sends a request without a body.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Result<Value, CliError> {
        self.send(Ask::new(method, path)).await
    }

    /// Sends a request with a JSON body.
    pub(crate) async fn send_json(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, CliError> {
        self.send(Ask::new(method, path).json(Bytes::from(body.to_string())))
            .await
    }

    /// Opens a stream of events.
    pub(crate) async fn events(&self, path: &str) -> Result<Events, CliError> {
        let ask = Ask::new(Method::GET, path).signed_in(&self.session.access_token);
        let opened = self.rest.events(ask).await;
        match opened.map_err(|source| self.unreachable(source))? {
            Opened::Events(events) => Ok(events),
            Opened::Refused(problem) => Err(refusal(problem)),
        }
    }

    /// Reads what is no JSON document.
    pub(crate) async fn fetch(&self, path: &str) -> Result<Bytes, CliError> {
        let ask = Ask::new(Method::GET, path).signed_in(&self.session.access_token);
        let fetched = self.rest.fetch(ask).await;
        match fetched.map_err(|source| self.unreachable(source))? {
            Fetched::Bytes(bytes) => Ok(bytes),
            Fetched::Refused(problem) => Err(refusal(problem)),
        }
    }

    /// What went wrong with the server.
    pub(crate) fn unreachable(&self, source: RestError) -> CliError {
        CliError::Unreachable {
            server: self.rest.address().clone(),
            source,
        }
    }

    async fn send(&self, ask: Ask<'_>) -> Result<Value, CliError> {
        let ask = ask.signed_in(&self.session.access_token);
        match send(&self.rest, ask).await {
            Err(CliError::Refused(problem)) => Err(refusal(problem)),
            other => other,
        }
    }
}

/// Why a signed-in caller was refused.
fn refusal(problem: Problem) -> CliError {
    if problem.code == "unauthenticated" {
        CliError::SessionEnded
    } else {
        CliError::Refused(problem)
    }
}

/// Sends a request, and makes an error of a refusal.
pub(crate) async fn send(rest: &Rest, ask: Ask<'_>) -> Result<Value, CliError> {
    let answer = rest
        .exchange(ask)
        .await
        .map_err(|source| CliError::Unreachable {
            server: rest.address().clone(),
            source,
        })?;
    answer.success().map_err(CliError::Refused)
}

async fn renew(session: &Session, now: OffsetDateTime) -> Result<Session, CliError> {
    let rest = session.rest();
    let body = json!({ "refresh_token": session.refresh_token.expose_secret() }).to_string();
    let ask = Ask::new(Method::POST, "/auth/refresh").json(body.into());
    match send(&rest, ask).await {
        Ok(answer) => Session::from_answer(&rest, &answer, now).ok_or(CliError::SessionEnded),
        Err(CliError::Refused(problem)) if problem.status == 401 => Err(CliError::SessionEnded),
        Err(error) => Err(error),
    }
}
