//! The API for people to read: one page, made of the OpenAPI document, without any script.

mod render;
mod style;

use aws_lc_rs::digest;
use base64ct::{Base64, Encoding};
use hyper::StatusCode;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use schemars::{Schema, SchemaGenerator, json_schema};

use super::describe::Answer;
use super::openapi;
use super::reply::{self, Reply};
use crate::error::ApiError;

/// A page that loads nothing.
pub(super) struct Html(String);

/// The answer of `GET /docs`.
pub(super) async fn page() -> Result<Html, ApiError> {
    Ok(Html(render::page(&openapi::describe_all())))
}

impl Answer for Html {
    const MEDIA_TYPE: &'static str = "text/html; charset=utf-8";

    fn reply(self, status: StatusCode) -> Result<Reply, ApiError> {
        let mut reply = reply::with_body(status, Self::MEDIA_TYPE, self.0.into_bytes());
        let headers = reply.headers_mut();
        let policy = HeaderValue::try_from(policy()).map_err(ApiError::internal)?;
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        Ok(reply)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Nothing may be loaded, run, framed or sent; one style sheet counts, by its hash.
fn policy() -> String {
    let hash = digest::digest(&digest::SHA256, style::SHEET.as_bytes());
    let hash = Base64::encode_string(hash.as_ref());
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::{page, policy, render, style};
    use crate::http::routes::ROUTES;

    #[tokio::test]
    async fn every_route_is_on_the_page() {
        let page = page().await.unwrap().0;
        for route in ROUTES {
            let heading = format!("{} {}", route.method, route.path);
            assert!(page.contains(&heading), "{heading}");
            assert!(page.contains(&format!("id=\"{}\"", route.name)));
        }
    }

    #[tokio::test]
    async fn every_link_of_the_page_leads_somewhere_on_it() {
        let page = page().await.unwrap().0;
        let links: Vec<&str> = page.split("href=\"").skip(1).collect();
        assert!(links.len() > ROUTES.len());
        for link in links {
            let target = link.split('"').next().unwrap();
            let here = target.strip_prefix('#').map(|id| format!("id=\"{id}\""));
            let found = here.is_some_and(|id| page.contains(&id));
            assert!(found || target == "openapi.json", "{target}");
        }
    }

    #[tokio::test]
    async fn the_page_loads_and_runs_nothing() {
        let page = page().await.unwrap().0.to_ascii_lowercase();
        for word in [
            "<script", "<img", "<link", "<iframe", " src=", " onclick", "@import", "url(",
        ] {
            assert!(!page.contains(word), "{word}");
        }
        let sheet = page.split("<style>").nth(1).unwrap();
        let sheet = sheet.split("</style>").next().unwrap();
        assert_eq!(
            sheet,
            style::SHEET.to_ascii_lowercase(),
            "the hash is of another one"
        );
        assert!(policy().starts_with("default-src 'none'; style-src 'sha256-"));
    }

    #[test]
    fn what_the_document_says_is_text_on_the_page() {
        let evil = serde_json::json!({
            "info": { "title": "<script>", "version": "\"'&" },
            "paths": { "/<b>": { "get": {
                "operationId": "a\"b", "tags": ["<i>"], "summary": "<img src=x>",
            } } },
        });
        let page = render::page(&evil);
        for wrong in ["<script", "<b>", "<i>", "<img", "a\"b"] {
            assert!(!page.contains(wrong), "{wrong}");
        }
    }
}
