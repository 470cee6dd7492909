//! `keyferry status`.

use hyper::Method;
use keyferry_sdk::Client;
use keyferry_sdk::status::{Health, Key, Status as AgentStatus};
use serde_json::{Value, json};

use crate::app::App;
use crate::arguments::Status;
use crate::error::CliError;
use crate::output::{Reply, cell, table};
use crate::rest::Ask;
use crate::session::send;

/// Tells how the agent of this machine and the server of the session are. All is well when the
/// agent is healthy, and the server too, if somebody is signed in.
pub(crate) async fn status(app: &App, arguments: &Status) -> Result<Reply, CliError> {
    let agent = agent_status(arguments).await;
    let server = server_health(app).await;
    let human = format!(
        "{}\n{}",
        agent
            .as_ref()
            .map_or_else(|error| format!("agent: {error}\n"), describe_agent),
        server
            .as_ref()
            .map_or_else(|error| format!("server: {error}"), describe_server),
    );
    let json = json!({
        "agent": agent.as_ref().ok(),
        "agent_error": agent.as_ref().err().map(ToString::to_string),
        "server": server.as_ref().ok(),
        "server_error": server.as_ref().err().map(|error| error.describe_cause()),
    });
    let exit_code = match (&agent, &server) {
        (Err(error), _) => error.exit_code(),
        (Ok(agent), _) if agent.health != Health::Healthy => NOT_HEALTHY,
        (Ok(_), Ok(_) | Err(CliError::NotSignedIn)) => 0,
        (Ok(_), Err(error)) => error.exit_code(),
    };
    Ok(Reply::new(human, json).with_exit_code(exit_code))
}

async fn agent_status(arguments: &Status) -> Result<AgentStatus, CliError> {
    Ok(Client::connect_to(&arguments.agent.socket)
        .await?
        .status()
        .await?)
}

/// The server's health needs no token, so a session that has ended still names the server.
async fn server_health(app: &App) -> Result<Value, CliError> {
    let session = app.session_file.read()?.ok_or(CliError::NotSignedIn)?;
    let mut health = send(&session.rest(), Ask::new(Method::GET, "/health")).await?;
    if let Some(members) = health.as_object_mut() {
        members.insert("server".into(), session.server.to_string().into());
        members.insert("user".into(), session.user.into());
    }
    Ok(health)
}

fn describe_agent(status: &AgentStatus) -> String {
    let connection = &status.connection;
    let mut text = format!(
        "agent: {}, keys kept in {}, server {}\n",
        word(&status.health),
        status.protection,
        connection.server.as_deref().unwrap_or("not reached yet"),
    );
    if let Some(approval) = &connection.approval {
        text.push_str(&format!(
            "  waits for approval: keyferry approve {} (its key: {})\n",
            approval.code, approval.fingerprint
        ));
    }
    if let Some(lease) = &status.lease {
        text.push_str(&format!(
            "  lease: {} of {} s left\n",
            lease.left_seconds, lease.seconds
        ));
    }
    if let Some(error) = &status.last_error {
        text.push_str(&format!("  last error: {error}\n"));
    }
    for advice in &status.advice {
        text.push_str(&format!("  advice: {advice}\n"));
    }
    if status.keys.is_empty() {
        text.push_str("  no keys\n");
    } else {
        let rows: Vec<_> = status.keys.iter().map(row).collect();
        text.push_str(&table(
            ["KEY", "VERSION", "STATE", "DELIVERY", "OPENED"],
            &rows,
        ));
    }
    text
}

fn row(key: &Key) -> [String; 5] {
    [
        key.name.clone(),
        key.version.to_string(),
        key.state.clone(),
        key.delivery.clone(),
        key.opened.to_string(),
    ]
}

fn describe_server(health: &Value) -> String {
    format!(
        "server: {} {}, signed in as {}",
        cell(health, "server"),
        cell(health, "status"),
        cell(health, "user"),
    )
}

/// That of an agent that cannot be reached.
const NOT_HEALTHY: u8 = 6;

fn word(health: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(health).unwrap_or_default();
    value.as_str().unwrap_or("unknown").to_owned()
}
