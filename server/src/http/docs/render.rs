//! From an OpenAPI document to HTML. Whatever comes out of the document is escaped.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::style::SHEET;

/// One operation of the document.
struct Operation<'a> {
    method: String,
    path: &'a str,
    described: &'a Value,
}

/// The whole page.
pub(super) fn page(document: &Value) -> String {
    let operations = operations(document);
    let mut tags: Vec<&str> = operations.iter().map(Operation::tag).collect();
    tags.dedup();
    let info = |member| {
        escape(text(
            document.pointer("/info").and_then(|it| it.get(member)),
        ))
    };
    let title = format!("{} {}", info("title"), info("version"));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{SHEET}</style></head><body><h1>{title}</h1><p>{}</p>\
         <p>For programs: <a href=\"openapi.json\">openapi.json</a>, from which this page is made. \
         It tells of refusals that can meet any request, too: {}.</p>",
        info("description"),
        OF_EVERYTHING.join(", ")
    );
    contents(&mut page, &operations);
    for tag in tags {
        put(&mut page, format_args!("<h2>{}</h2>", escape(heading(tag))));
        let here = operations.iter().filter(|operation| operation.tag() == tag);
        here.for_each(|operation| section(&mut page, operation, document));
    }
    objects(&mut page, document);
    page.push_str("</body></html>\n");
    page
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = members(document.get("paths"));
    let all = paths.flat_map(|(path, methods)| {
        members(Some(methods)).map(move |(method, described)| Operation {
            method: method.to_ascii_uppercase(),
            path,
            described,
        })
    });
    let mut all: Vec<_> = all.collect();
    all.sort_by(|one, other| one.tag().cmp(other.tag()));
    all
}

fn contents(page: &mut String, operations: &[Operation<'_>]) {
    page.push_str("<nav><ul>");
    for operation in operations {
        let (id, name) = (operation.id(), operation.name());
        put(
            page,
            format_args!("<li><a href=\"#{id}\"><code>{name}</code></a></li>"),
        );
    }
    page.push_str("</ul></nav>");
}

fn section(page: &mut String, operation: &Operation<'_>, document: &Value) {
    let described = operation.described;
    put(
        page,
        format_args!(
            "<h3 id=\"{}\"><code>{}</code></h3><p>{}</p><p class=\"who\">{}</p>",
            operation.id(),
            operation.name(),
            escape(text(described.get("summary"))),
            escape(text(described.get("x-access"))),
        ),
    );
    parameters(page, described);
    if let Some(content) = described.pointer("/requestBody/content/application~1json") {
        let schema = kind(content.get("schema").unwrap_or(&Value::Null));
        put(page, format_args!("<p>Body: {schema}</p>"));
        if let Some(example) = content.get("example") {
            put(
                page,
                format_args!("<pre>{}</pre>", escape(&format!("{example:#}"))),
            );
        }
    }
    answers(page, described, document);
}

fn parameters(page: &mut String, described: &Value) {
    let list = described.get("parameters").and_then(Value::as_array);
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return;
    };
    page.push_str("<table>");
    for parameter in list {
        let schema = parameter.get("schema").unwrap_or(&Value::Null);
        put(
            page,
            format_args!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                escape(text(parameter.get("name"))),
                escape(text(parameter.get("in"))),
                kind(schema)
            ),
        );
    }
    page.push_str("</table>");
}

fn answers(page: &mut String, described: &Value, document: &Value) {
    page.push_str("<table>");
    let told = members(described.get("responses"));
    for (status, answer) in told.filter(|(status, _)| !OF_EVERYTHING.contains(status)) {
        let place = answer.get("$ref").and_then(Value::as_str);
        let shared = place.and_then(|place| document.pointer(place.trim_start_matches('#')));
        let answer = shared.unwrap_or(answer);
        let mut contents = members(answer.get("content"));
        let schema = contents
            .next()
            .and_then(|(_, content)| content.get("schema"));
        put(
            page,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(status),
                escape(text(answer.get("description"))),
                schema.map(kind).unwrap_or_default()
            ),
        );
    }
    page.push_str("</table>");
}

/// Every named schema with its members.
fn objects(page: &mut String, document: &Value) {
    page.push_str("<h2>Objects</h2>");
    for (name, schema) in members(document.pointer("/components/schemas")) {
        put(
            page,
            format_args!(
                "<h3 id=\"schema-{0}\"><code>{0}</code></h3><p>{1}</p>",
                escape(name),
                escape(text(schema.get("description")))
            ),
        );
        let Some(properties) = schema.get("properties") else {
            put(page, format_args!("<p>{}</p>", kind(schema)));
            continue;
        };
        page.push_str("<table>");
        for (member, property) in members(Some(properties)) {
            put(
                page,
                format_args!(
                    "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                    escape(member),
                    kind(property),
                    escape(text(property.get("description")))
                ),
            );
        }
        page.push_str("</table>");
    }
}

/// A schema in words, as HTML.
fn kind(schema: &Value) -> String {
    if let Some(place) = schema.get("$ref").and_then(Value::as_str) {
        let name = escape(place.rsplit('/').next().unwrap_or(place));
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    let choices = ["anyOf", "oneOf", "allOf"].iter();
    let choices = choices.filter_map(|word| schema.get(word)?.as_array());
    let choices: Vec<String> = choices.flatten().map(kind).collect();
    if !choices.is_empty() {
        return choices.join(" or ");
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<String> = values
            .iter()
            .map(|value| code(&value.to_string()))
            .collect();
        return values.join(" or ");
    }
    if let Some(value) = schema.get("const") {
        return code(&value.to_string());
    }
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().map(|one| text(Some(one))).collect(),
        one => vec![text(one)],
    };
    let types = types.into_iter().map(|one| one_kind(one, schema));
    types.collect::<Vec<_>>().join(" or ")
}

fn one_kind(name: &str, schema: &Value) -> String {
    match name {
        "array" => format!(
            "list of {}",
            kind(schema.get("items").unwrap_or(&Value::Null))
        ),
        "null" => code("null"),
        "string" => match schema.get("format").and_then(Value::as_str) {
            Some(format) => format!("string ({})", escape(format)),
            None => "string".to_owned(),
        },
        other => escape(other),
    }
}

impl Operation<'_> {
    fn tag(&self) -> &str {
        text(self.described.pointer("/tags/0"))
    }

    fn id(&self) -> String {
        escape(text(self.described.get("operationId")))
    }

    fn name(&self) -> String {
        escape(&format!("{} {}", self.method, self.path))
    }
}

fn heading(tag: &str) -> &str {
    if tag.is_empty() { "/" } else { tag }
}

fn members(object: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    let members = object.and_then(Value::as_object).into_iter();
    members
        .flat_map(Map::iter)
        .map(|(name, value)| (name.as_str(), value))
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn put(page: &mut String, piece: std::fmt::Arguments<'_>) {
    page.write_fmt(piece).expect("a string takes everything");
}

/// The statuses that would stand under every route.
const OF_EVERYTHING: [&str; 6] = ["408", "413", "421", "431", "500", "503"];
