//! `keyferry approve` and `keyferry deny`.

use std::io::{self, BufRead, IsTerminal, Write};

use hyper::Method;
use keyferry_protocol::approval::UserCode;
use serde_json::{Value, json};

use crate::arguments::Approve;
use crate::error::CliError;
use crate::output::{Reply, cell};
use crate::session::SignedIn;

/// Lets the machine that shows this code enrol, once a person or an option vouches for its key.
pub(crate) async fn approve(caller: &SignedIn, arguments: &Approve) -> Result<Reply, CliError> {
    let path = path(&arguments.code);
    let waiting = caller.ask(Method::GET, &path).await?;
    vouch(arguments, &waiting)?;
    let mut body = json!({});
    if let (Some(members), Some(name)) = (body.as_object_mut(), &arguments.name) {
        members.insert("name".to_owned(), name.to_string().into());
    }
    let approved = caller
        .send_json(Method::POST, &format!("{path}/approve"), &body)
        .await?;
    let human = format!(
        "approved {}; its agent enrols within seconds: `keyferry vms list`",
        arguments.code
    );
    Ok(Reply::new(human, approved))
}

/// Turns the machine that shows this code away.
pub(crate) async fn deny(caller: &SignedIn, code: &UserCode) -> Result<Reply, CliError> {
    let path = format!("{}/deny", path(code));
    let denied = caller.send_json(Method::POST, &path, &json!({})).await?;
    Ok(Reply::new(format!("denied {code}"), denied))
}

fn path(code: &UserCode) -> String {
    format!("/enrolments/{}", code.letters())
}

fn vouch(arguments: &Approve, waiting: &Value) -> Result<(), CliError> {
    if let Some(expected) = &arguments.key {
        return if cell(waiting, "fingerprint") == *expected {
            Ok(())
        } else {
            Err(CliError::OtherKey)
        };
    }
    if arguments.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(CliError::NoTerminal("--yes or --key"));
    }
    if confirmed(waiting).map_err(CliError::Input)? {
        Ok(())
    } else {
        Err(CliError::NotApproved)
    }
}

fn confirmed(waiting: &Value) -> io::Result<bool> {
    let mut terminal = io::stderr();
    writeln!(
        terminal,
        "A machine that calls itself {} asks from {}. Its key is\n  {}",
        cell(waiting, "name"),
        cell(waiting, "address"),
        cell(waiting, "fingerprint")
    )?;
    writeln!(
        terminal,
        "Approve it only if you see this code on the machine's own screen."
    )?;
    write!(terminal, "Do you? Type yes: ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
