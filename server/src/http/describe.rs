//! What the types of a use case tell of its route.

use std::convert::Infallible;
use std::marker::PhantomData;

use hyper::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::reply::{self, Reply};
use super::segment::Segment;
use crate::audit::{Filter, Lines};
use crate::error::ApiError;
use crate::metrics;
use crate::operators::Search;

/// Collects the schemas of every type that the routes take or give.
pub(super) struct Schemas {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

/// One route as its types describe it.
pub(super) struct Operation<'a> {
    schemas: &'a mut Schemas,
    pub(super) parameters: Vec<Value>,
    pub(super) body: Option<Schema>,
    pub(super) answer: Option<Schema>,
    /// The media type of the answer.
    pub(super) gives: &'static str,
    /// Reads a body as the route does.
    #[cfg(feature = "fuzzing")]
    pub(super) reads: Option<super::fuzzing::ReadBody>,
}

/// What a use case may answer with.
pub(super) trait Answer: Sized {
    const MEDIA_TYPE: &'static str;
    fn reply(self, status: StatusCode) -> Result<Reply, ApiError>;
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// JSON, and nothing where the status is that of no content.
impl<T: Serialize + JsonSchema> Answer for T {
    const MEDIA_TYPE: &'static str = "application/json";

    fn reply(self, status: StatusCode) -> Result<Reply, ApiError> {
        if status == StatusCode::NO_CONTENT {
            return Ok(reply::empty(status));
        }
        reply::json(status, &self)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

/// A reply whose status or fields its maker decided; its body is a `T`.
pub(super) struct Made<T> {
    reply: Reply,
    body: PhantomData<fn() -> T>,
}

impl<T: Serialize + JsonSchema> Made<T> {
    pub(super) fn json(status: StatusCode, body: &T) -> Result<Self, ApiError> {
        reply::json(status, body).map(Self::from)
    }
}

impl<T> From<Reply> for Made<T> {
    fn from(reply: Reply) -> Self {
        Self {
            reply,
            body: PhantomData,
        }
    }
}

impl<T: JsonSchema> Answer for Made<T> {
    const MEDIA_TYPE: &'static str = "application/json";

    fn reply(self, _: StatusCode) -> Result<Reply, ApiError> {
        Ok(self.reply)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

/// Text as Prometheus reads it.
pub(super) struct Readings(pub(super) String);

impl Answer for Readings {
    const MEDIA_TYPE: &'static str = metrics::MEDIA_TYPE;

    fn reply(self, status: StatusCode) -> Result<Reply, ApiError> {
        let text = self.0.into_bytes();
        Ok(reply::with_body(status, Self::MEDIA_TYPE, text))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Answer for Lines {
    const MEDIA_TYPE: &'static str = "application/x-ndjson";

    fn reply(self, status: StatusCode) -> Result<Reply, ApiError> {
        Ok(reply::with_body(status, Self::MEDIA_TYPE, self.0))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// The type of an argument that nobody has.
pub(super) struct Slot<T>(PhantomData<fn() -> T>);

impl<T> Slot<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }

    /// The argument, for a call that never happens but has its types checked.
    #[expect(clippy::unused_self, reason = "it is the slot's type that counts")]
    pub(super) fn of(&self, never: Infallible) -> T {
        match never {}
    }
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            taken: settings().for_deserialize().into_generator(),
            given: settings().for_serialize().into_generator(),
        }
    }

    pub(super) fn operation(&mut self) -> Operation<'_> {
        Operation {
            schemas: self,
            parameters: Vec::new(),
            body: None,
            answer: None,
            gives: "application/json",
            #[cfg(feature = "fuzzing")]
            reads: None,
        }
    }

    /// The schema of a type that every route may answer with.
    pub(super) fn given<T: JsonSchema>(&mut self) -> Schema {
        self.given.subschema_for::<T>()
    }

    /// Every schema by its name.
    pub(super) fn into_definitions(mut self) -> Map<String, Value> {
        let mut all = self.given.take_definitions(true);
        all.extend(self.taken.take_definitions(true));
        all
    }
}

impl Operation<'_> {
    pub(super) fn answer<F, Fut, T>(&mut self, _: F)
    where
        F: FnOnce(Infallible) -> Fut,
        Fut: Future<Output = Result<T, ApiError>>,
        T: Answer,
    {
        self.answer = Some(T::schema(&mut self.schemas.given));
        self.gives = T::MEDIA_TYPE;
    }

    pub(super) fn body<T: DeserializeOwned + JsonSchema>(&mut self, _: &Slot<T>) {
        self.body = Some(self.schemas.taken.subschema_for::<T>());
        #[cfg(feature = "fuzzing")]
        {
            self.reads = Some(|bytes| super::request::parse::<T>(bytes).map(drop));
        }
    }

    pub(super) fn segment<T: Segment>(&mut self, name: &str, _: &Slot<T>) {
        let schema = T::schema();
        self.parameters
            .push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }

    /// A parameter of the query; some texts have a format.
    pub(super) fn query(&mut self, name: &str, format: Option<&str>) {
        let mut schema = json!({ "type": "string" });
        if let (Some(format), Some(members)) = (format, schema.as_object_mut()) {
            members.insert("format".to_owned(), json!(format));
        }
        self.parameters
            .push(json!({ "name": name, "in": "query", "schema": schema }));
    }

    pub(super) fn filter(&mut self) {
        for (name, format) in Filter::PARAMETERS {
            self.query(name, format);
        }
        self.page();
    }

    pub(super) fn search(&mut self) {
        self.query(Search::PARAMETER, None);
        self.page();
    }

    pub(super) fn after(&mut self) {
        let schema = json!({ "type": "integer", "format": "int64", "default": 0 });
        self.parameters
            .push(json!({ "name": "after", "in": "query", "schema": schema }));
    }

    pub(super) fn page(&mut self) {
        let limit = json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 });
        self.parameters
            .push(json!({ "name": "limit", "in": "query", "schema": limit }));
        self.parameters
            .push(json!({ "name": "cursor", "in": "query", "schema": { "type": "string" } }));
    }
}
