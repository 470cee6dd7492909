//! `keyferry admin`: what admins of the server see and do.

mod plans;

use hyper::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::arguments::{Admin, NewPerson};
use crate::error::CliError;
use crate::output::{Reply, called, cell, table, time_cell};
use crate::rest::segment;
use crate::rest_list::{Kind, find_item, found_items};
use crate::session::SignedIn;

/// Runs one of the commands.
pub(crate) async fn run(app: &App, command: Admin) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Admin::Users(it) => users(&caller, it.search.as_deref()).await,
        Admin::AddUser(it) => add_user(&caller, &it).await,
        Admin::User(it) => {
            let account = caller.ask(Method::GET, &path_of(&it.account)).await?;
            Ok(Reply::new(described(&account), account))
        }
        Admin::Unlock(it) => act(&caller, &it.account, "unlock").await,
        Admin::Disable(it) => act(&caller, &it.account, "disable").await,
        Admin::Enable(it) => act(&caller, &it.account, "enable").await,
        Admin::ResetPassword(it) => {
            let path = format!("{}/reset-password", path_of(&it.account));
            let answer = caller.ask(Method::POST, &path).await?;
            Ok(Reply::new(cell(&answer, "message"), answer))
        }
        Admin::Tenants(it) => tenants(&caller, it.search.as_deref()).await,
        Admin::Plan { tenant, plan } => change_plan(&caller, &tenant, &plan).await,
        Admin::Plans(it) => plans::run(&caller, it).await,
        Admin::Stats => stats(&caller).await,
    }
}

async fn users(caller: &SignedIn, search: Option<&str>) -> Result<Reply, CliError> {
    let items = found_items(caller, "/admin/users", search).await?;
    let row = |account: &Value| {
        [
            cell(account, "username"),
            cell(account, "email"),
            cell(account, "status"),
            cell(account, "server_admin"),
            cell(account, "second_factor"),
            time_cell(account, "last_login_at"),
            cell(account, "id"),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let headings = [
        "USERNAME",
        "E-MAIL",
        "STATUS",
        "ADMIN",
        "2ND FACTOR",
        "LAST LOGIN",
        "ID",
    ];
    Ok(Reply::new(
        table(headings, &rows),
        json!({ "items": items }),
    ))
}

async fn add_user(caller: &SignedIn, person: &NewPerson) -> Result<Reply, CliError> {
    let mut body = json!({ "email": person.email });
    let more = [
        ("username", &person.username),
        ("full_name", &person.full_name),
        ("tenant_name", &person.tenant_name),
    ];
    if let Some(members) = body.as_object_mut() {
        let given = more.into_iter();
        let given = given.filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?))));
        members.extend(given);
    }
    let account = caller
        .send_json(Method::POST, "/admin/users", &body)
        .await?;
    let human = format!(
        "a mail with a token to choose a password is on its way to {}",
        person.email
    );
    Ok(Reply::new(human, account))
}

async fn act(caller: &SignedIn, account: &str, what: &str) -> Result<Reply, CliError> {
    let path = format!("{}/{what}", path_of(account));
    let account = caller.ask(Method::POST, &path).await?;
    Ok(Reply::new(described(&account), account))
}

async fn tenants(caller: &SignedIn, search: Option<&str>) -> Result<Reply, CliError> {
    let items = found_items(caller, TENANT.path, search).await?;
    let row = |tenant: &Value| {
        [
            cell(tenant, "name"),
            cell(tenant, "plan"),
            cell(tenant, "members"),
            cell(tenant, "keys"),
            cell(tenant, "vms"),
            time_cell(tenant, "created_at"),
            cell(tenant, "id"),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let headings = [
        "NAME", "PLAN", "MEMBERS", "KEYS", "MACHINES", "CREATED", "ID",
    ];
    Ok(Reply::new(
        table(headings, &rows),
        json!({ "items": items }),
    ))
}

async fn change_plan(caller: &SignedIn, tenant: &str, plan: &str) -> Result<Reply, CliError> {
    let tenant = find_item(caller, &TENANT, tenant).await?;
    let path = format!("{}/{}", TENANT.path, cell(&tenant, "id"));
    let body = json!({ "plan": plan });
    let tenant = caller.send_json(Method::PATCH, &path, &body).await?;
    let human = format!("{} is on the plan {plan}", cell(&tenant, "name"));
    Ok(Reply::new(human, tenant))
}

async fn stats(caller: &SignedIn) -> Result<Reply, CliError> {
    let stats = caller.ask(Method::GET, "/admin/stats").await?;
    let members = stats.as_object().into_iter().flatten();
    let lines = members.map(|(name, _)| format!("{name:<17} {}\n", cell(&stats, name)));
    Ok(Reply::new(lines.collect::<String>(), stats))
}

fn described(account: &Value) -> String {
    format!(
        "{} is {} ({}), last login {}",
        called(account),
        cell(account, "status"),
        cell(account, "id"),
        time_cell(account, "last_login_at")
    )
}

fn path_of(account: &str) -> String {
    format!("/admin/users/{}", segment(account))
}

const TENANT: Kind = Kind {
    path: "/admin/tenants",
    names: &["name"],
    called: "tenant",
    listed_by: "admin tenants",
};
