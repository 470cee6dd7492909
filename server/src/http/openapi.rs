//! The OpenAPI 3.1 document, made of the table of routes and the types behind it.

use serde_json::{Map, Value, json};

use super::describe::{Operation, Schemas};
use super::reply::Problem;
use super::routes::ROUTES;
use super::table::{Access, Route};
use crate::error::ApiError;

/// The answer of `GET /openapi.json`.
pub(super) async fn document() -> Result<Value, ApiError> {
    let mut schemas = Schemas::new();
    let problem = schemas.given::<Problem>();
    let mut paths = Map::new();
    for route in ROUTES {
        let mut operation = schemas.operation();
        (route.describe)(&mut operation);
        let described = describe(route, operation);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        add(path, route.method.as_str().to_ascii_lowercase(), described);
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Keyferry",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every path answers under /api and /api/v2 too.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.into_definitions(),
            "responses": { "Problem": {
                "description": "Refused; `code` says why, and nothing has changed.",
                "content": { "application/problem+json": { "schema": problem } },
            } },
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
        },
    }))
}

fn describe(route: &Route, operation: Operation<'_>) -> Value {
    let mut described = json!({
        "operationId": route.name,
        "tags": [route.path.split('/').nth(1).unwrap_or_default()],
        "parameters": operation.parameters,
        "responses": responses(route, &operation),
    });
    if let Some(body) = operation.body {
        let content = json!({ "application/json": { "schema": body } });
        let body = json!({ "required": true, "content": content });
        add(&mut described, "requestBody", body);
    }
    if route.access != Access::Anyone {
        add(&mut described, "security", json!([{ "bearer": [] }]));
    }
    if let Access::May(permission) = route.access {
        add(&mut described, "x-permission", json!(permission));
    }
    described
}

fn responses(route: &Route, operation: &Operation<'_>) -> Value {
    let mut well = json!({ "description": route.status.canonical_reason() });
    let has_body = ![204, 101].contains(&route.status.as_u16());
    if let Some(schema) = operation.answer.as_ref().filter(|_| has_body) {
        let content = json!({ operation.gives: { "schema": schema } });
        add(&mut well, "content", content);
    }
    let mut responses = Map::new();
    responses.insert(route.status.as_str().to_owned(), well);
    responses.insert(
        "default".to_owned(),
        json!({ "$ref": "#/components/responses/Problem" }),
    );
    Value::Object(responses)
}

fn add(object: &mut Value, name: impl Into<String>, member: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.into(), member);
    }
}

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
}
