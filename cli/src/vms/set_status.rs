//! `keyferry vms cut-off` and `keyferry vms allow`.

use hyper::Method;
use serde_json::json;

use super::find;
use crate::error::CliError;
use crate::output::Reply;
use crate::session::SignedIn;

/// Whether a machine has access.
#[derive(Clone, Copy)]
pub(crate) enum Status {
    Active,
    CutOff,
}

/// Gives or ends a machine's access.
pub(crate) async fn set_status(
    caller: &SignedIn,
    vm: &str,
    status: Status,
) -> Result<Reply, CliError> {
    let vm = find(caller, vm).await?;
    let (word, human) = match status {
        Status::Active => (
            "active",
            format!("{0} may enrol again: `keyferry vms ticket {0}`", vm.name),
        ),
        Status::CutOff => ("cut_off", format!("{} is cut off", vm.name)),
    };
    let answer = caller
        .send_json(Method::PATCH, &vm.path(), &json!({ "status": word }))
        .await?;
    Ok(Reply::new(human, answer))
}
