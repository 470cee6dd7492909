//! Approval by a person: the agent shows a code, and fetches its ticket when somebody has approved
//! it. PROTOCOL.md §12.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use keyferry_protocol::agreement::{KeyPair, PublicKey};
use keyferry_protocol::approval::{UserCode, fingerprint, ticket_info};
use keyferry_protocol::memory::Arena;
use keyferry_protocol::sealed::{self, SealedError};
use keyferry_protocol::ticket::{Ticket, TicketError};
use keyferry_sdk::link::{Answer, Endpoint, LinkError};
use keyferry_sdk::status::{self, ConnectionState};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::agent::Agent;

/// The server to ask, and what to say.
pub struct Approval {
    /// Where it is, and why it is trusted.
    pub server: Endpoint,
    /// What this machine would like to be called there.
    pub name: Option<String>,
    /// Whose approval it waits for, if not anybody's who knows the code.
    pub tenant: Option<String>,
}

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApprovalError {
    /// The server cannot be asked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The server says no.
    #[error("the server refuses to ask for approval: {0}")]
    Refused(String),
    /// A person has said no.
    #[error(
        "the approval of this machine was denied; it is asked for again in ten minutes, or when \
         the agent is started again"
    )]
    Denied,
    /// Nobody decided in time.
    #[error("nobody has approved this machine in time: a new code is shown")]
    Expired,
    /// Somebody is between this machine and the server.
    #[error(
        "the code does not belong to this agent's key and the server's: somebody may be in between"
    )]
    OtherCode,
    /// The answer is no ticket for this agent.
    #[error("the ticket does not open")]
    Sealed(#[from] SealedError),
    /// What was sealed is no ticket.
    #[error("the ticket cannot be used")]
    Malformed(#[from] TicketError),
}

/// What was asked, and how its answer is asked for.
struct Waiting {
    device_code: String,
    server_key: PublicKey,
    interval: Duration,
    ends: Instant,
}

impl Approval {
    /// Asks, shows the code, and waits for a person.
    pub(super) async fn ticket(
        &self,
        agent: &Agent,
        (arena, own): (&Arena, &KeyPair),
    ) -> Result<Ticket, ApprovalError> {
        let mut waiting = self.ask(agent, own.public()).await?;
        let sealed = loop {
            sleep(waiting.interval).await;
            if Instant::now() >= waiting.ends {
                return Err(ApprovalError::Expired);
            }
            if let Some(sealed) = self.poll(&mut waiting).await? {
                break sealed;
            }
        };
        let sealed = Base64UrlUnpadded::decode_vec(&sealed);
        let sealed = sealed.map_err(|_| LinkError::Protocol("a ticket that is not base64url"))?;
        let text = sealed::open(arena, own, &ticket_info(own.public()), &sealed)?;
        let ticket = Ticket::parse(arena, text.expose())?;
        if ticket.server_key != waiting.server_key {
            return Err(ApprovalError::OtherCode);
        }
        Ok(ticket)
    }

    async fn ask(&self, agent: &Agent, own: PublicKey) -> Result<Waiting, ApprovalError> {
        let published = self.server.get("/.well-known/keyferry").await?;
        let server_key = PublicKey(bytes(published.text("noise_key"))?);
        let mut body = json!({ "agent_key": Base64UrlUnpadded::encode_string(&own.0) });
        for (member, value) in [("name", &self.name), ("tenant", &self.tenant)] {
            if let (Some(body), Some(value)) = (body.as_object_mut(), value) {
                body.insert(member.to_owned(), Value::from(value.as_str()));
            }
        }
        let asked = self.server.post("/enrolments", &body).await?;
        if !asked.is_success() {
            return Err(refused(&asked));
        }
        let code = UserCode::of(own, server_key, &bytes(asked.text("nonce"))?);
        if asked.text("user_code").and_then(|text| text.parse().ok()) != Some(code.clone()) {
            return Err(ApprovalError::OtherCode);
        }
        show(agent, &code, own);
        let seconds = |member| asked.body.get(member).and_then(Value::as_u64);
        let device_code = asked.text("device_code").map(str::to_owned);
        Ok(Waiting {
            device_code: device_code.ok_or(LinkError::Protocol("no device code"))?,
            server_key,
            interval: Duration::from_secs(seconds("interval").unwrap_or(5).clamp(1, 60)),
            ends: Instant::now()
                + Duration::from_secs(seconds("expires_in").unwrap_or(600).clamp(1, 3_600)),
        })
    }

    /// The sealed ticket, when there is one.
    async fn poll(&self, waiting: &mut Waiting) -> Result<Option<String>, ApprovalError> {
        let body = json!({ "device_code": waiting.device_code });
        let answer = match self.server.post("/enrolments/poll", &body).await {
            Ok(answer) => answer,
            Err(error) => {
                // The code stays good: the next question may get through.
                debug!(%error, "the server cannot be asked for the approval");
                return Ok(None);
            }
        };
        if answer.is_success() {
            return Ok(answer.text("sealed_ticket").map(str::to_owned));
        }
        match answer.code() {
            "authorization_pending" => Ok(None),
            "slow_down" => {
                waiting.interval += STEP;
                Ok(None)
            }
            "access_denied" => Err(ApprovalError::Denied),
            "expired_token" => Err(ApprovalError::Expired),
            _ if answer.status >= 429 => Ok(None),
            _ => Err(refused(&answer)),
        }
    }
}

fn show(agent: &Agent, code: &UserCode, own: PublicKey) {
    let (code, fingerprint) = (code.to_string(), fingerprint(own));
    warn!("this machine waits for approval: keyferry approve {code} (its key: {fingerprint})");
    agent.uplink(|uplink| {
        uplink.state = ConnectionState::AwaitingApproval;
        uplink.last_error = None;
        uplink.approval = Some(status::Approval { code, fingerprint });
    });
}

fn refused(answer: &Answer) -> ApprovalError {
    ApprovalError::Refused(format!("{} ({})", answer.code(), answer.status))
}

fn bytes<const N: usize>(text: Option<&str>) -> Result<[u8; N], LinkError> {
    let mut bytes = [0; N];
    match Base64UrlUnpadded::decode(text.unwrap_or_default(), &mut bytes) {
        Ok(decoded) if decoded.len() == N => Ok(bytes),
        _ => Err(LinkError::Protocol("an answer without its bytes")),
    }
}

/// RFC 8628 §3.5.
const STEP: Duration = Duration::from_secs(5);
