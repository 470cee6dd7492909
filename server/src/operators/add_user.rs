//! Makes an account for somebody else.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Operator;
use super::users::{Account, account};
use crate::accounts::{self, Email, FREE_TEXT, Standing, Username, Wanted};
use crate::app::App;
use crate::error::ApiError;
use crate::sessions::{Origin, ServerAdmin};

/// Whom an account is made for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPerson {
    #[schemars(regex(pattern = Username::PATTERN))]
    username: Option<String>,
    #[schemars(regex(pattern = Email::PATTERN), length(max = 100))]
    email: String,
    #[schemars(length(max = 100), regex(pattern = FREE_TEXT))]
    full_name: Option<String>,
    #[schemars(length(max = 100), regex(pattern = FREE_TEXT))]
    tenant_name: Option<String>,
}

/// Makes an account with a tenant of its own, and mails its owner a link to choose a password.
pub(crate) async fn add_user(
    app: &App,
    origin: &Origin,
    admin: &ServerAdmin,
    person: NewPerson,
) -> Result<Account, ApiError> {
    let by = Operator::from(admin);
    let wanted = Wanted {
        username: person.username,
        email: Some(person.email),
        full_name: person.full_name,
        tenant_name: person.tenant_name,
        password: None,
    };
    let made = accounts::create(app, origin, wanted, Standing::Provided(&by.actor)).await?;
    account(app, made.id).await
}
