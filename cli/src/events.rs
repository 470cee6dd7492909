//! `keyferry events` and `keyferry vms held --watch`: what happens, as it happens.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::App;
use crate::error::CliError;
use crate::output::{Reply, cell, time_cell};
use crate::rest::Event;
use crate::session::SignedIn;

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

/// Which events are told.
pub(crate) enum About {
    Everything,
    /// What the machine of this id holds.
    Held(String),
}

/// Tells events until the command is ended, across restarts of the server.
pub(crate) async fn follow(
    app: &App,
    caller: SignedIn,
    (about, form): (About, Form),
) -> Result<Reply, CliError> {
    let mut caller = caller;
    loop {
        let mut events = match caller.events("/events").await {
            Ok(events) => events,
            Err(CliError::Unreachable { .. }) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        while let Ok(Some(event)) = events.next().await {
            if about.includes(&event) {
                tell(&event, form).map_err(CliError::Output)?;
            }
        }
        tokio::time::sleep(PAUSE).await;
        // The server ends a stream with its access token; the session has another one.
        caller = app.signed_in_now().await?;
    }
}

impl About {
    fn includes(&self, event: &Event) -> bool {
        match self {
            Self::Everything => true,
            Self::Held(vm) => event.kind == "held" && cell(&event.data, "vm") == *vm,
        }
    }
}

fn tell(event: &Event, form: Form) -> io::Result<()> {
    let line = match form {
        Form::Json => json!({ "event": event.kind, "data": event.data }).to_string(),
        Form::Text => text(event),
    };
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
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
