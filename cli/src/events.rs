//! `keyferry events` and `keyferry vms held --watch`: what happens, as it happens.

use std::io::{self, Write};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::CliError;
use crate::output::{Reply, cell, time_cell};
use crate::rest::{Event, Events};
use crate::session::SignedIn;
use crate::vms::{Vm, held_by};

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

/// Which events are told.
pub(crate) enum About {
    Everything,
    /// What this machine holds: all of it whenever the stream begins, and then what changes.
    Held(Vm),
}

/// Tells events until the command is ended, across restarts of the server.
pub(crate) async fn follow(app: &App, about: About, form: Form) -> Result<Reply, CliError> {
    let mut stream = open(app).await?;
    loop {
        match tell_all(&mut stream, &about, form).await {
            Ok(()) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        // The server ends a stream with its access token; the session has another one.
        stream = loop {
            tokio::time::sleep(PAUSE).await;
            match open(app).await {
                Ok(stream) => break stream,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        };
    }
}

async fn open(app: &App) -> Result<(SignedIn, Events), CliError> {
    let caller = app.signed_in_now().await?;
    let events = caller.events("/events").await?;
    Ok((caller, events))
}

/// A server that restarts, or has no place at the moment.
fn is_passing(error: &CliError) -> bool {
    match error {
        CliError::Unreachable { .. } => true,
        CliError::Refused(problem) => problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16(),
        _ => false,
    }
}

async fn tell_all(
    (caller, events): &mut (SignedIn, Events),
    about: &About,
    form: Form,
) -> Result<(), CliError> {
    while let Ok(Some(event)) = events.next().await {
        match about {
            About::Everything => tell(&event, form)?,
            About::Held(vm) if event.kind == "reload" => {
                let all = held_by(caller, vm).await?;
                all.write(&mut io::stdout().lock(), form == Form::Json)
                    .map_err(CliError::Output)?;
            }
            About::Held(vm) if event.kind == "held" && cell(&event.data, "vm") == vm.id => {
                tell(&event, form)?;
            }
            About::Held(_) => {}
        }
    }
    Ok(())
}

fn tell(event: &Event, form: Form) -> Result<(), CliError> {
    let line = match form {
        Form::Json => json!({ "event": event.kind, "data": event.data }).to_string(),
        Form::Text => text(event),
    };
    let mut output = io::stdout().lock();
    let written = writeln!(output, "{line}").and_then(|()| output.flush());
    written.map_err(CliError::Output)
}

fn text(event: &Event) -> String {
    let data = &event.data;
    match event.kind.as_str() {
        "held" => {
            let done = data.get("acked_at").is_some_and(Value::is_string);
            let at = time_cell(data, if done { "acked_at" } else { "told_at" });
            format!(
                "{at}  {} version {} in {}: told to {}, {}",
                cell(data, "key"),
                cell(data, "version"),
                cell(data, "vm"),
                cell(data, "told"),
                if done {
                    cell(data, "outcome")
                } else {
                    "no answer yet".to_owned()
                },
            )
        }
        "vm" => format!(
            "machine {} ({}): {}, connected: {}",
            cell(data, "name"),
            cell(data, "id"),
            cell(data, "status"),
            cell(data, "connected"),
        ),
        "vm_removed" => format!("machine {} is deleted", cell(data, "id")),
        "keys" => "keys have changed: keyferry keys list".to_owned(),
        "reload" => "watching; what was before is in: keyferry vms list".to_owned(),
        other => format!("{other} {data}"),
    }
}

const PAUSE: Duration = Duration::from_secs(1);
