//! `keyferry-agent status`: asks the running agent, and prints its answer.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use keyferry_agent::arguments;
use keyferry_agent::causes::with_causes;
use keyferry_sdk::status::{ConnectionState, Health, Status};
use keyferry_sdk::{Error, blocking};
use serde_json::json;

/// Exit code 0: healthy, 1: stale or disconnected, 2: not running.
pub(crate) fn show_status(options: &arguments::Status) -> ExitCode {
    let asked = blocking::Client::connect_to(&options.socket).and_then(|agent| agent.status());
    let (text, code) = match asked {
        Ok(status) => {
            let code = if status.health == Health::Healthy {
                0
            } else {
                1
            };
            (
                if options.json {
                    in_json(&status)
                } else {
                    table(&status)
                },
                code,
            )
        }
        Err(error) => return complain(&error, options),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(code),
        Err(_nobody_reads) => ExitCode::FAILURE,
    }
}

fn complain(error: &Error, options: &arguments::Status) -> ExitCode {
    let text = with_causes(error);
    let told = if options.json {
        json!({ "error": text, "code": error.code(), "exit_code": NOT_RUNNING }).to_string()
    } else {
        format!("keyferry-agent: {text}")
    };
    let _nobody_reads = writeln!(io::stderr(), "{told}");
    ExitCode::from(NOT_RUNNING)
}

const NOT_RUNNING: u8 = 2;

fn in_json(status: &Status) -> String {
    let mut text = serde_json::to_string_pretty(status).expect("a status is plain data");
    text.push('\n');
    text
}

fn table(status: &Status) -> String {
    let mut text = String::new();
    lines(&mut text, status).expect("writing to a string cannot fail");
    text
}

fn lines(out: &mut String, status: &Status) -> std::fmt::Result {
    let health = match status.health {
        Health::Healthy => "healthy",
        Health::Stale => "stale: no server, the keys work until the lease ends",
        Health::Disconnected => "disconnected: no server, and no keys",
    };
    writeln!(out, "keyferry-agent {}: {health}", status.version)?;
    connection(out, status)?;
    writeln!(out, "protection  {}", status.protection)?;
    if let Some(lease) = &status.lease {
        writeln!(
            out,
            "lease       {} s, {} s left",
            lease.seconds, lease.left_seconds
        )?;
    }
    writeln!(out, "tools       {} connected", status.tools)?;
    keys(out, status)?;
    programs(out, status)?;
    for step in &status.hardening {
        let mark = if step.degraded { " (degraded)" } else { "" };
        writeln!(out, "hardening   {:<18} {}{mark}", step.step, step.level)?;
    }
    if status.left_out > 0 {
        writeln!(
            out,
            "and         {} more keys and programs",
            status.left_out
        )?;
    }
    for advice in &status.advice {
        writeln!(out, "advice      {advice}")?;
    }
    Ok(())
}

/// The proxy, and who uses keys through it.
fn programs(out: &mut String, status: &Status) -> std::fmt::Result {
    let Some(proxy) = &status.proxy else {
        return Ok(());
    };
    writeln!(out, "proxy       127.0.0.1:{}", proxy.port)?;
    for tool in &proxy.tools {
        let (key, pid, uid) = (&tool.key, tool.pid, tool.uid);
        let (requests, sent, received) = (tool.requests, tool.sent, tool.received);
        writeln!(
            out,
            "exec        {key:<20} process {pid} of user {uid}: {requests} requests, \
             {sent} bytes out, {received} bytes in"
        )?;
    }
    Ok(())
}

fn connection(out: &mut String, status: &Status) -> std::fmt::Result {
    let connection = &status.connection;
    let state = match connection.state {
        ConnectionState::Connected => "connected",
        ConnectionState::Connecting => "connecting",
        ConnectionState::NeedsTicket => "needs a new ticket",
        ConnectionState::AwaitingApproval => "waits for approval",
    };
    writeln!(
        out,
        "server      {} ({state})",
        connection.server.as_deref().unwrap_or("-")
    )?;
    writeln!(
        out,
        "vm          {}",
        connection.vm.as_deref().unwrap_or("-")
    )?;
    if let Some(approval) = &connection.approval {
        let (code, key) = (&approval.code, &approval.fingerprint);
        writeln!(
            out,
            "approval    keyferry approve {code} (this agent's key: {key})"
        )?;
    }
    if let Some(error) = &status.last_error {
        writeln!(out, "last error  {error}")?;
    }
    Ok(())
}

fn keys(out: &mut String, status: &Status) -> std::fmt::Result {
    if status.keys.is_empty() {
        return writeln!(out, "keys        none");
    }
    for key in &status.keys {
        let (name, state, delivery) = (&key.name, &key.state, &key.delivery);
        let (version, pages, opened) = (key.version, key.pages, key.opened);
        writeln!(
            out,
            "key         {name:<20} version {version:<4} {state:<10} {delivery:<6} \
             in {pages} pages, opened {opened} times, {} requests, {} bytes out, {} in",
            key.requests, key.sent, key.received
        )?;
    }
    Ok(())
}
