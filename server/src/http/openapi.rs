//! The OpenAPI 3.1 document, made of the table of routes, the types behind it and the guides.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::describe::{Operation, Schemas};
use super::guide::{Guide, pairs};
use super::reply::Problem;
use super::routes::ROUTES;
use super::table::{Access, Route, parameter, segments};
use crate::error::ApiError;

/// The answer of `GET /openapi.json`.
pub(super) async fn document() -> Result<Value, ApiError> {
    Ok(describe_all())
}

/// The document, for whoever has no server at hand.
pub(crate) fn describe_all() -> Value {
    let mut schemas = Schemas::new();
    schemas.given::<Problem>();
    let (mut paths, mut refusals) = (Map::new(), Map::new());
    for route in ROUTES {
        let mut operation = schemas.operation();
        (route.describe)(&mut operation);
        let described = describe(route, operation, &mut refusals);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        add(path, route.method.as_str().to_ascii_lowercase(), described);
    }
    let request_id = json!({ "type": "string", "format": "uuid" });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Keyferry",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every path answers under /api and /api/v2 too. Lists come in pieces: \
                pass next_cursor on as cursor.",
            "license": { "name": "Apache-2.0 OR MIT" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas.into_definitions(),
            "responses": refusals,
            "headers": {
                "RequestId": { "description": "The logs repeat it.", "schema": request_id },
                "RetryAfter": { "description": "Seconds.", "schema": { "type": "integer" } },
            },
            "securitySchemes": security_schemes(),
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token, a session token (kfs_...) or an API key (kf_...).",
        },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-keyferry_session",
            "description": "Set by a login with \"cookie\": true.",
        },
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRF-Token",
            "description": "With the cookie, for whatever is no GET: the csrf_token of the login.",
        },
    })
}

fn describe(route: &Route, operation: Operation<'_>, shared: &mut Map<String, Value>) -> Value {
    let guide = Guide::to(route.name);
    let mut described = json!({
        "operationId": route.name,
        "tags": [route.path.split('/').nth(1).unwrap_or_default()],
        "summary": guide.map(|guide| guide.summary),
        "parameters": operation.parameters,
        "responses": responses(route, &operation, shared),
        "x-access": access(route.access),
    });
    if let Some(body) = operation.body {
        let example = guide.and_then(Guide::example);
        let content = json!({ "application/json": { "schema": body, "example": example } });
        let body = json!({ "required": true, "content": content });
        add(&mut described, "requestBody", body);
    }
    if route.access != Access::Anyone {
        let cookie = if route.method == hyper::Method::GET {
            json!({ "cookie": [] })
        } else {
            json!({ "cookie": [], "csrf": [] })
        };
        add(
            &mut described,
            "security",
            json!([{ "bearer": [] }, cookie]),
        );
    }
    if let Access::May(permission) = route.access {
        add(&mut described, "x-permission", json!(permission));
    }
    described
}

/// Who may call, in words.
fn access(access: Access) -> String {
    match access {
        Access::Anyone => "For anyone.".to_owned(),
        Access::SignedIn => "For everybody who is signed in.".to_owned(),
        Access::Person => "For people with a session; not with an API key.".to_owned(),
        Access::May(permission) => format!("Needs the permission {}.", permission.name()),
        Access::ServerAdmin => "For admins of this server, with a session.".to_owned(),
    }
}

fn responses(route: &Route, operation: &Operation<'_>, shared: &mut Map<String, Value>) -> Value {
    let mut well = json!({
        "description": route.status.canonical_reason(),
        "headers": { "X-Request-Id": { "$ref": "#/components/headers/RequestId" } },
    });
    let has_body = ![204, 101, 303].contains(&route.status.as_u16());
    if let Some(schema) = operation.answer.as_ref().filter(|_| has_body) {
        let content = json!({ operation.gives: { "schema": schema } });
        add(&mut well, "content", content);
    }
    let mut responses = Map::new();
    responses.insert(route.status.as_str().to_owned(), well);
    for (status, codes) in refusals(route, operation) {
        let name = format!("{status}.{}", codes.join("."));
        let place = json!({ "$ref": format!("#/components/responses/{name}") });
        responses.insert(status.to_string(), place);
        shared
            .entry(name)
            .or_insert_with(|| refusal(status, &codes));
    }
    Value::Object(responses)
}

/// The codes of every refusal by their status.
fn refusals(route: &Route, operation: &Operation<'_>) -> BTreeMap<u16, Vec<&'static str>> {
    let guide = Guide::to(route.name);
    let own = guide.into_iter().flat_map(Guide::refusals);
    let when = |applies: bool, codes| pairs(if applies { codes } else { "" });
    let names_a_thing = segments(route.path).any(|part| parameter(part).is_some());
    let all = pairs(OF_EVERYTHING)
        .chain(when(operation.body.is_some(), OF_BODIES))
        .chain(when(route.access != Access::Anyone, OF_CALLERS))
        .chain(when(names_a_thing, "404 not_found"))
        .chain(own);
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for (status, code) in all {
        let codes = by_status.entry(status).or_default();
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    by_status
}

fn refusal(status: u16, codes: &[&str]) -> Value {
    let title = StatusCode::from_u16(status).ok();
    let title = title.and_then(|status| status.canonical_reason());
    let description = format!("{}: {}", title.unwrap_or_default(), codes.join(", "));
    let mut headers = json!({ "X-Request-Id": { "$ref": "#/components/headers/RequestId" } });
    if [429, 503].contains(&status) {
        let wait = json!({ "$ref": "#/components/headers/RetryAfter" });
        add(&mut headers, "Retry-After", wait);
    }
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let content = json!({ "application/problem+json": { "schema": schema } });
    json!({ "description": description, "headers": headers, "content": content })
}

fn add(object: &mut Value, name: impl Into<String>, member: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.into(), member);
    }
}

/// What any request may be refused with.
pub(super) const OF_EVERYTHING: &str = "400 malformed_request 400 invalid_input \
    408 request_timeout 413 body_too_large 421 unknown_host 431 head_too_large 500 internal \
    503 overloaded 503 unavailable";
/// What a request with a body may be refused with.
pub(super) const OF_BODIES: &str = "400 invalid_json 415 unsupported_media_type";
/// What a request that must be signed in may be refused with.
pub(super) const OF_CALLERS: &str = "401 unauthenticated 403 forbidden 403 csrf_token_missing 429 rate_limited 403 second_factor_owed";

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::document;

    /// Every `$ref` in the document.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members
                    .values()
                    .for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[tokio::test]
    async fn every_reference_leads_somewhere() {
        let document = document().await.unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20);
        for reference in found {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference}");
        }
    }

    #[tokio::test]
    async fn a_route_is_described_by_its_types() {
        let document = document().await.unwrap();
        let put = &document["paths"]["/keys/{name}"]["put"];
        assert_eq!(put["operationId"], "vault_put");
        assert_eq!(put["parameters"][0]["name"], "name");
        assert_eq!(put["x-permission"], "vault:write");
        let body = &put["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        assert_eq!(body, "#/components/schemas/NewKey");
        let new_key = &document["components"]["schemas"]["NewKey"];
        assert_eq!(new_key["additionalProperties"], false);
        assert!(document["paths"]["/auth/login"]["post"]["security"].is_null());
    }

    #[tokio::test]
    async fn every_refusal_is_listed_with_its_codes() {
        let document = document().await.unwrap();
        let rotate = &document["paths"]["/keys/{name}/rotate"]["post"];
        let conflict = rotate["responses"]["409"]["$ref"].as_str().unwrap();
        let conflict = document.pointer(&conflict[1..]).unwrap();
        assert_eq!(
            conflict["description"],
            "Conflict: version_conflict, key_revoked"
        );
        for status in [
            "200", "400", "401", "403", "404", "413", "415", "429", "503",
        ] {
            assert!(rotate["responses"][status].is_object(), "{status}");
        }
        assert!(rotate["responses"]["default"].is_null());
        let health = &document["paths"]["/health"]["get"]["responses"];
        assert!(health["401"].is_null());
    }
}
