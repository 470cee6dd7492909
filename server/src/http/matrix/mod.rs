//! Every route by every kind of caller, on things of the own tenant and of another one. The cases
//! come from the table of routes.

mod callers;
mod samples;
mod world;

use serde_json::Value;

use super::routes::ROUTES;
use super::table::{Access, Route, parameter, segments};
use crate::sessions::BuiltIn;
use crate::store::sql;
use callers::Case;
use samples::refused_by_nature;
use world::{World, assert_same};

fn guarded() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.access != Access::Anyone)
}

/// Every route but the agent's, which answers with an upgrade.
fn plain() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.status != 101)
}

/// The caller does what the table says, or is refused and has changed nothing.
async fn assert_table_holds(world: &World, route: &Route, case: &Case) {
    let request = world.request(route, &case.caller).await;
    let before = world.rows(case.caller.user).await;
    let (status, answer) = world.ask(&request, Some(&case.caller.bearer)).await;
    let wanted = if case.is_permitted(route) {
        refused_by_nature(route).unwrap_or(route.status.as_u16())
    } else {
        403
    };
    assert_eq!(
        status, wanted,
        "{} with {}: {answer}",
        request.0, case.label
    );
    if wanted >= 400 {
        let what = format!("{} with {}", request.0, case.label);
        assert_same(&before, &world.rows(case.caller.user).await, &what);
    }
}

#[tokio::test]
async fn nobody_passes_without_a_token_that_counts() {
    let world = World::new().await;
    for route in guarded() {
        let victim = world.insider("owner").await;
        let request = world.request(route, &victim).await;
        let mut bearers = callers::shut_out(&world).await;
        bearers.push(("no session token", "kfs_AAAA".to_owned()));
        bearers.push(("no access token", "a.b.c".to_owned()));
        let before = world.rows(victim.user).await;
        let (status, answer) = world.ask(&request, None).await;
        assert_eq!(status, 401, "{}: {answer}", request.0);
        for (who, bearer) in bearers {
            let (status, answer) = world.ask(&request, Some(&bearer)).await;
            assert_eq!(status, 401, "{} with {who}: {answer}", request.0);
        }
        assert_same(&before, &world.rows(victim.user).await, &request.0);
    }
}

#[tokio::test]
async fn every_role_does_what_the_table_says_and_nothing_else() {
    let world = World::new().await;
    for route in plain() {
        for role in BuiltIn::ALL {
            let case = callers::in_role(&world, role).await;
            assert_table_holds(&world, route, &case).await;
        }
    }
}

#[tokio::test]
async fn a_role_of_the_tenants_own_does_what_it_permits_and_nothing_else() {
    let world = World::new().await;
    for route in plain() {
        for case in callers::in_own_roles(&world, route).await {
            assert_table_holds(&world, route, &case).await;
        }
    }
}

#[tokio::test]
async fn an_api_key_does_what_it_and_its_owner_may_and_nothing_else() {
    let world = World::new().await;
    for route in plain() {
        for case in callers::programs(&world, route).await {
            assert_table_holds(&world, route, &case).await;
        }
    }
}

#[tokio::test]
async fn only_admins_of_the_server_see_beyond_their_tenant() {
    let world = World::new().await;
    for route in plain() {
        let case = callers::server_admin(&world).await;
        assert_table_holds(&world, route, &case).await;
    }
}

#[tokio::test]
async fn another_tenant_sees_and_changes_nothing() {
    let world = World::new().await;
    for route in guarded() {
        let (outsider, victim) = (world.outsider().await, world.insider("owner").await);
        let request = world.request(route, &victim).await;
        let before = world.rows(victim.user).await;
        let (status, answer) = world.ask(&request, Some(&outsider.bearer)).await;
        let names_a_thing = segments(route.path).any(|part| parameter(part).is_some());
        if names_a_thing && route.method != hyper::Method::PUT {
            let hidden = if route.access == Access::ServerAdmin {
                403
            } else {
                404
            };
            assert_eq!(status, hidden, "{}: {answer}", request.0);
        }
        let told = answer.to_string();
        assert!(
            !told.contains(&world.tenant.to_string()),
            "{}: {told}",
            request.0
        );
        assert!(
            !told.contains("thing-1\""),
            "{} tells the name of the tenant: {told}",
            request.0
        );
        assert_same(&before, &world.rows(victim.user).await, &request.0);
    }
}

#[tokio::test]
async fn lists_hold_only_what_the_own_tenant_has() {
    let world = World::new().await;
    for area in [
        ("keys", "name"),
        ("vms", "id"),
        ("roles", "name"),
        ("members", "user"),
        ("invitations", "invitation"),
    ] {
        let route = ROUTES
            .iter()
            .find(|route| route.path.starts_with(&format!("/{}/{{", area.0)))
            .unwrap();
        let insider = world.insider("owner").await;
        let target = world.target(route, area.1, &insider).await;
        let list = (format!("GET /{}", area.0), Value::Null);
        let (_, own) = world.ask(&list, Some(&insider.bearer)).await;
        assert!(own.to_string().contains(&target), "{}", list.0);
        let outsider = world.outsider().await;
        let (status, foreign) = world.ask(&list, Some(&outsider.bearer)).await;
        assert_eq!(status, 200);
        assert!(!foreign.to_string().contains(&target), "{}", list.0);
    }
}

#[tokio::test]
async fn a_change_of_what_belongs_to_one_user_is_seen() {
    let world = World::new().await;
    let victim = world.insider("owner").await;
    world.device(&victim).await;
    world.identity(&victim).await;
    for change in [
        "DELETE FROM devices",
        "DELETE FROM identities",
        "UPDATE sessions SET ended_at = 1",
        "UPDATE users SET password_hash = 'another'",
    ] {
        let before = world.rows(victim.user).await;
        sql!(world.app().store, query(change).execute).unwrap();
        assert_ne!(before, world.rows(victim.user).await, "{change}");
    }
}
