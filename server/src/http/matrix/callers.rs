//! Who tries: every built-in role, roles of the tenant's own, API keys, admins of the server, and
//! those who have been shut out.

use serde_json::{Value, json};

use super::samples::handed_out;
use super::world::{Caller, World};
use crate::http::table::{Access, Route};
use crate::sessions::{BuiltIn, Permission, Role};
use crate::store::sql;

/// A caller, and what the table says of them.
pub(super) struct Case {
    pub(super) label: &'static str,
    pub(super) caller: Caller,
    permissions: Vec<Permission>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Person,
    ServerAdmin,
    Program,
}

impl Case {
    /// Whether the table lets this caller use the route.
    pub(super) fn is_permitted(&self, route: &Route) -> bool {
        match route.access {
            Access::Anyone | Access::SignedIn => true,
            Access::Person => self.kind != Kind::Program,
            Access::May(permission) => self.permissions.contains(&permission),
            Access::ServerAdmin => self.kind == Kind::ServerAdmin,
        }
    }
}

/// Members in one of the roles that every tenant has.
pub(super) async fn in_role(world: &World, role: BuiltIn) -> Case {
    Case {
        label: role.name(),
        caller: world.insider(role.name()).await,
        permissions: of_role(role),
        kind: Kind::Person,
    }
}

/// Members in roles of the tenant's own: what the route needs and no more, and everything else.
pub(super) async fn in_own_roles(world: &World, route: &Route) -> [Case; 2] {
    let [exactly, others] = around(route);
    [
        in_own_role(world, "exactly what it needs", exactly).await,
        in_own_role(world, "everything but what it needs", others).await,
    ]
}

async fn in_own_role(world: &World, label: &'static str, permissions: Vec<Permission>) -> Case {
    let role = world.new_name();
    let mut names: Vec<&str> = permissions.iter().map(|one| one.name()).collect();
    names.push("code:generate");
    let body = json!({ "permissions": names });
    world.make(&format!("PUT /roles/{role}"), body).await;
    Case {
        label,
        caller: world.insider(&role).await,
        permissions,
        kind: Kind::Person,
    }
}

/// API keys: of an owner with all permissions, with those that the route needs, with all others,
/// with none; and one that may everything, of an owner who then became a viewer.
pub(super) async fn programs(world: &World, route: &Route) -> [Case; 5] {
    let [exactly, others] = around(route);
    let all = Permission::ALL.to_vec();
    let mut lowered = program(world, "a key of a lowered owner", all.clone()).await;
    become_viewer(world, &lowered.caller).await;
    lowered.permissions = of_role(BuiltIn::Viewer);
    [
        program(world, "a key with everything", all).await,
        program(world, "a key with exactly what it needs", exactly).await,
        program(world, "a key with everything but that", others).await,
        program(world, "a key with nothing", Vec::new()).await,
        lowered,
    ]
}

async fn program(world: &World, label: &'static str, permissions: Vec<Permission>) -> Case {
    let mut caller = world.insider("owner").await;
    let body = json!({ "name": "program", "permissions": permissions });
    caller.bearer = add_key(world, &caller, body).await;
    Case {
        label,
        caller,
        permissions,
        kind: Kind::Program,
    }
}

async fn add_key(world: &World, owner: &Caller, body: Value) -> String {
    let made = world.make_own(owner, "POST /auth/api-keys", body).await;
    made["key"].as_str().unwrap().to_owned()
}

async fn become_viewer(world: &World, caller: &Caller) {
    let mut change = world.app().store.begin().await.unwrap();
    let place = (world.tenant, caller.user);
    change.change_membership(place, "viewer").await.unwrap();
    change.commit().await.unwrap();
}

/// An admin of the server, who is a viewer of the tenant.
pub(super) async fn server_admin(world: &World) -> Case {
    const SQL: &str = "UPDATE users SET server_admin = $1 WHERE id = $2";
    let caller = world.insider("viewer").await;
    let store = &world.app().store;
    sql!(store, query(SQL, true, caller.user).execute).unwrap();
    Case {
        label: "an admin of the server",
        caller,
        permissions: of_role(BuiltIn::Viewer),
        kind: Kind::ServerAdmin,
    }
}

/// The bearers of owners who could do everything a moment ago.
pub(super) async fn shut_out(world: &World) -> Vec<(&'static str, String)> {
    let app = world.app();
    let now = app.clock.now();
    let mut bearers = Vec::new();

    let signed_out = world.insider("owner").await;
    bearers.push(("an ended session", signed_out.bearer.clone()));
    let disabled = world.insider("owner").await;
    bearers.push(("a disabled account", disabled.bearer.clone()));
    let key = add_key(world, &disabled, json!({ "name": "program" })).await;
    bearers.push(("a key of a disabled account", key));
    let removed = world.insider("owner").await;
    bearers.push(("a removed member", removed.bearer.clone()));
    let key = add_key(world, &removed, json!({ "name": "program" })).await;
    bearers.push(("a key of a removed member", key));
    let program = world.insider("owner").await;
    let path = "POST /auth/api-keys";
    let revoked = world
        .make_own(&program, path, json!({ "name": "program" }))
        .await;
    bearers.push(("a revoked key", revoked["key"].as_str().unwrap().to_owned()));
    for (who, bearer) in &bearers {
        let me = ("GET /auth/me".to_owned(), Value::Null);
        assert_eq!(world.ask(&me, Some(bearer)).await.0, 200, "{who}");
    }

    world
        .make_own(&signed_out, "POST /auth/logout", Value::Null)
        .await;
    let path = format!("DELETE /auth/api-keys/{}", revoked["id"].as_str().unwrap());
    world.make_own(&program, &path, Value::Null).await;
    let mut change = app.store.begin().await.unwrap();
    change.close_user(disabled.user).await.unwrap();
    let place = (world.tenant, removed.user);
    change.delete_membership(place).await.unwrap();
    change.commit().await.unwrap();
    assert_eq!(app.clock.now(), now, "their tokens have not expired");
    bearers
}

fn of_role(role: BuiltIn) -> Vec<Permission> {
    let role = Role::from(role);
    role.permissions().guarded().collect()
}

/// What a route needs, and everything but its own permission.
fn around(route: &Route) -> [Vec<Permission>; 2] {
    let needed = match route.access {
        Access::May(permission) => Some(permission),
        _ => None,
    };
    let exactly = needed.into_iter().chain(handed_out(route).iter().copied());
    let others = Permission::ALL.into_iter();
    let others = others.filter(|permission| Some(*permission) != needed);
    [exactly.collect(), others.collect()]
}
