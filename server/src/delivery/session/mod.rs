//! One agent's connection, from its handshake to its end.
//!
//! ```text
//!  enter ── handshake, credential, Accept, Ready ──▶ serve ── Put, Retire, Revoke, Lease ──▶ end
//! ```
//!
//! All its state is in the connection. Events only say "look again": the session compares what
//! the database allows with what it has told, and says the difference. PROTOCOL.md §7.

mod accesses;
mod deliver;
mod enter;
mod hear;
mod line;
mod serve;
mod told;
mod usage;

use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::handshake::{Claims, CredentialKind};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tracing::{Instrument, debug, info, warn};
use uuid::Uuid;

use self::enter::{Refused, enter};
use self::line::{Line, LineError};
use crate::app::App;
use crate::audit::{self, Entry};
use crate::bus::{self, Event};
use crate::delivery::Place;
use crate::limits::{self, Recorded};
use crate::store::{StoreError, TenantId, TicketId, VmId, uuid_v7};
use crate::traces;

pub(crate) use enter::ticket_context;

/// The WebSocket under a session.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// An agent that has proven its credential.
struct Entered {
    tenant: TenantId,
    vm: VmId,
    agent_key: PublicKey,
    claims: Claims,
    /// This session, in the audit and on the wire.
    session: Uuid,
    /// The server's static key, as far as the agent knows.
    server_key: PublicKey,
    /// A ticket begins a run of an agent; within it there are sessions after the first.
    by: CredentialKind,
}

impl Entered {
    const fn place(&self) -> (TenantId, VmId) {
        (self.tenant, self.vm)
    }

    fn actor(&self) -> String {
        format!("vm:{}", self.vm)
    }

    fn entry<'e>(
        &self,
        actor: &'e str,
        action: &'static str,
        (subject, detail): (Option<&'e str>, Value),
    ) -> Entry<'e> {
        Entry {
            tenant: Some(self.tenant),
            actor,
            action,
            subject,
            detail,
            correlation: self.session,
        }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the agent said goodbye")]
    Bye,
    #[error("the VM is cut off or another agent has enrolled for it")]
    CutOff,
    #[error("this server is stopping")]
    Drained,
    #[error("the agent has not been heard for too long")]
    Silent,
    #[error("the agent has said more than the database takes")]
    Behind,
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("a stored key cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An upgraded connection, and its place among the handshakes under way.
pub(crate) struct Knock {
    pub(crate) socket: Socket,
    pub(crate) place: Place,
}

/// Runs a connection to its end. The peer is never told why it was refused.
pub(crate) async fn run(app: App, knock: Knock) {
    let session = uuid_v7(app.clock.now(), &mut app.rng());
    let mut line = Line::new(knock.socket);
    // On the heap, and given back: what is here stays as long as the agent does.
    let entering = Box::pin(enter(&app, &mut line, session));
    let entering = entering.instrument(traces::handshake(session));
    let entered = timeout(TO_ENTER, entering).await;
    let entered = entered.unwrap_or(Err(Refused::Slow));
    drop(knock.place);
    match entered {
        Ok(entered) => {
            let seat = app.attached.seat(entered.vm);
            let (tenant, vm, protection) = (entered.tenant, entered.vm, entered.claims.protection);
            info!(%vm, %session, %protection, "agent attached");
            let ended = Box::pin(serve::serve(&app, &mut line, entered)).await;
            info!(%vm, %session, reason = %ended, "agent session ended");
            drop(seat);
            line.close().await;
            let noted = Box::pin(note_absence(&app, (tenant, vm), session)).await;
            if let Err(cause) = noted {
                debug!(%vm, %cause, "that an agent left was not noted: it is found by the time");
            }
        }
        Err(refused) => {
            Box::pin(note(&app, session, &refused)).await;
            if refused.is_undecided() {
                line.ask_later().await;
            } else {
                line.refuse().await;
            }
        }
    }
}

/// Notes for every server that the agent is gone.
async fn note_absence(
    app: &App,
    (tenant, vm): (TenantId, VmId),
    session: Uuid,
) -> Result<(), StoreError> {
    let mut change = app.store.begin().await?;
    change.leave_vm((tenant, vm), session).await?;
    bus::commit(app, change, &[Event::VmSeen { tenant, vm }]).await
}

/// Why an agent was refused stays here: in the log and the audit.
async fn note(app: &App, session: Uuid, refused: &Refused) {
    warn!(%session, reason = %refused, "an agent was refused");
    app.metrics.agent_refused();
    let Some(recorded) = limits::refusal_to_record(app, "agent").await else {
        return;
    };
    let (reason, last) = (refused.to_string(), recorded == Recorded::LastForNow);
    let entry = Entry {
        tenant: None,
        actor: "anyone",
        action: "agent.refused",
        subject: None,
        detail: json!({ "reason": reason, "more_may_follow": last }),
        correlation: session,
    };
    if let Err(cause) = audit::append(app, &entry).await {
        warn!(%cause, "a refused agent could not be written to the audit");
    }
}

/// What a reattach credential's sealed secret is bound to.
pub(crate) fn reattach_context(id: TicketId) -> Vec<u8> {
    [b"keyferry reattach\0".as_slice(), &id.bytes()].concat()
}

/// For the whole handshake with its `Accept` and `Ready`.
const TO_ENTER: Duration = Duration::from_secs(5);
