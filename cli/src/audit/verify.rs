//! `keyferry audit verify`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};

use super::pieces::{Pieces, seq};
use crate::app::App;
use crate::error::CliError;
use crate::events::Form;
use crate::output::{Reply, cell};

/// Has the server compute the chain anew, and holds an earlier export against what it says now.
pub(crate) async fn verify(
    app: &App,
    export: Option<&Path>,
    form: Form,
) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    let mut report = caller.ask(Method::GET, "/audit/verify").await?;
    let mut intact = report.get("intact") == Some(&Value::Bool(true));
    let mut human = described(&report);
    if let Some(path) = export {
        let tenant = caller.ask(Method::GET, "/tenants/current").await?;
        let held = hold_against(app, path, &cell(&tenant, "id")).await?;
        intact &= held.differs_at.is_none();
        human.push_str(&held.described(path));
        if let Some(members) = report.as_object_mut() {
            members.insert("intact".to_owned(), json!(intact));
            members.insert("export".to_owned(), held.json());
        }
    }
    let reply = Reply::new(human, report);
    if intact {
        return Ok(reply);
    }
    let written = reply.write(&mut io::stdout().lock(), form == Form::Json);
    written.map_err(CliError::Output)?;
    Err(CliError::AuditChanged)
}

/// What a comparison with an earlier export came to.
#[derive(Default)]
struct Held {
    /// Events that are what they were.
    same: u64,
    /// Events from before where the server's begin by now.
    forgotten: u64,
    /// The first event that is not what it was, or is gone.
    differs_at: Option<u64>,
}

impl Held {
    fn described(&self, path: &Path) -> String {
        let path = path.display();
        let mut text = match self.differs_at {
            None => format!("{} events are as {path} has them\n", self.same),
            Some(seq) => format!("event {seq} is not, or no more, what {path} says\n"),
        };
        if self.forgotten > 0 {
            let count = self.forgotten;
            text.push_str(&format!(
                "{count} older ones have been pruned at the server\n"
            ));
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "same": self.same, "forgotten": self.forgotten, "differs_at": self.differs_at
        })
    }
}

/// Compares event by event, until one is not what it was.
async fn hold_against(app: &App, path: &Path, tenant: &str) -> Result<Held, CliError> {
    let mut kept = Kept::open(path, tenant)?;
    let mut wanted = kept
        .next()?
        .ok_or_else(|| kept.broken("it has no event of this tenant"))?;
    let mut server = Served {
        pieces: Pieces::after(app, seq(&wanted).unwrap_or_default().saturating_sub(1)),
        ready: VecDeque::new(),
    };
    let mut held = Held::default();
    let Some(mut event) = server.next().await? else {
        held.differs_at = seq(&wanted);
        return Ok(held);
    };
    while seq(&wanted) < seq(&event) {
        held.forgotten += 1;
        match kept.next()? {
            Some(next) => wanted = next,
            None => return Ok(held),
        }
    }
    loop {
        if wanted != event {
            held.differs_at = seq(&wanted);
            return Ok(held);
        }
        held.same += 1;
        let Some(next) = kept.next()? else {
            return Ok(held);
        };
        wanted = next;
        match server.next().await? {
            Some(next) => event = next,
            None => event = Value::Null,
        }
    }
}

/// The events of a file, those of one tenant.
struct Kept<'a> {
    path: &'a Path,
    tenant: &'a str,
    lines: io::Lines<BufReader<File>>,
}

impl<'a> Kept<'a> {
    fn open(path: &'a Path, tenant: &'a str) -> Result<Self, CliError> {
        let file = File::open(path).map_err(|source| CliError::File {
            path: path.to_owned(),
            source,
        })?;
        let lines = BufReader::new(file).lines();
        Ok(Self {
            path,
            tenant,
            lines,
        })
    }

    fn next(&mut self) -> Result<Option<Value>, CliError> {
        while let Some(line) = self.lines.next() {
            let line = line.map_err(|source| CliError::File {
                path: self.path.to_owned(),
                source,
            })?;
            let event: Option<Value> = serde_json::from_str(&line).ok();
            let event = event.filter(|event| seq(event).is_some());
            let event = event.ok_or_else(|| self.broken("a line is no event of an export"))?;
            if cell(&event, "tenant_id") == self.tenant {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn broken(&self, reason: &'static str) -> CliError {
        CliError::File {
            path: self.path.to_owned(),
            source: io::Error::other(reason),
        }
    }
}

/// The events of the server, one after the other.
struct Served<'a> {
    pieces: Pieces<'a>,
    ready: VecDeque<Value>,
}

impl Served<'_> {
    async fn next(&mut self) -> Result<Option<Value>, CliError> {
        if self.ready.is_empty()
            && let Some(piece) = self.pieces.next().await?
        {
            let lines = piece.lines.split(|byte| *byte == b'\n');
            let lines = lines.filter(|line| !line.is_empty());
            self.ready = lines
                .map(|line| serde_json::from_slice(line).unwrap_or_default())
                .collect();
        }
        Ok(self.ready.pop_front())
    }
}

fn described(report: &Value) -> String {
    let faults = report.get("faults").and_then(Value::as_array);
    let mut text: String = faults.into_iter().flatten().map(explained).collect();
    let events = cell(report, "events");
    text.push_str(&match report.get("intact") {
        Some(Value::Bool(true)) => format!("{events} events, as the server wrote them\n"),
        _ => format!("{events} events were looked at\n"),
    });
    text
}

fn explained(fault: &Value) -> String {
    let what = match cell(fault, "kind").as_str() {
        "altered" => "the event, or its place, is not what was written",
        "missing" => "events are missing from here on",
        "truncated" => "the chain was longer: its end is missing from here on",
        "pruned" => "events up to here were taken away, and no operator has pruned them",
        "unlinked" => "so many events are in no chain",
        _ => "something is wrong that this program does not know",
    };
    format!("at {}: {what}\n", cell(fault, "seq"))
}
