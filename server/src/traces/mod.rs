//! Traces, for who has a collector of them: a span for each request, and for what it waits for.
//!
//! Spans go to the collector alone and never into the log, and what the log says never goes to the
//! collector: names of keys and people are in the log.

mod export;

use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use sqlx::AssertSqlSafe;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tracing::field::Empty;
use tracing::{Level, Span, Subscriber, info_span, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;
use uuid::Uuid;

use crate::config::{Batches, Callers, Sampling, TraceSettings};
use crate::outbound::OutboundError;
use export::Exporter;

/// What sends spans to the collector.
pub(crate) struct Traces(SdkTracerProvider);

/// The span of a caller, in which ours has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    pub(crate) flags: u8,
}

impl Traces {
    /// Sends from the threads of `runtime`, gathered by a thread of its own: nobody waits for it.
    pub(crate) fn new(settings: &TraceSettings, runtime: Handle) -> Result<Self, OutboundError> {
        let Batches { queue, most, every } = settings.batches;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(queue)
            .with_max_export_batch_size(most)
            .with_scheduled_delay(every)
            .build();
        let sender = BatchSpanProcessor::builder(Exporter::new(settings, runtime)?);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(sender.with_batch_config(batches).build())
            .with_sampler(sampler(settings.sampling))
            .with_resource(resource(&settings.attributes))
            .build();
        Ok(Self(provider))
    }

    /// Hears of spans, and of nothing else.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer = self.0.tracer("keyferry-server");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TARGET, Level::INFO))
    }

    /// Sends what waits, but not for ever.
    pub(crate) async fn finish(self) {
        let sent = spawn_blocking(move || self.0.shutdown_with_timeout(FAREWELL)).await;
        if !matches!(sent, Ok(Ok(()))) {
            warn!("the last traces were not sent");
        }
    }
}

/// A request, from its head to the head of its answer. `route` is a pattern, never a path.
pub(crate) fn request(method: &'static str, route: &'static str, id: Uuid) -> Span {
    info_span!(
        target: TARGET,
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        keyferry.request_id = %id,
    )
}

/// What a request was answered.
pub(crate) fn answered(request: &Span, status: u16) {
    // Unsigned, it would arrive as a text.
    request.record("http.response.status_code", i64::from(status));
    if status >= 500 {
        request.record("otel.status_code", "error");
    }
}

/// Gives a request its place in the trace of its caller.
pub(crate) fn follow(request: &Span, caller: Caller) {
    let caller = SpanContext::new(
        TraceId::from_bytes(caller.trace),
        SpanId::from_bytes(caller.span),
        TraceFlags::new(caller.flags),
        true,
        TraceState::NONE,
    );
    // It fails when nobody traces.
    let _untraced = request.set_parent(Context::new().with_remote_span_context(caller));
}

/// An agent that comes.
pub(crate) fn handshake(session: Uuid) -> Span {
    info_span!(target: TARGET, "agent handshake", otel.kind = "server", keyferry.session = %session)
}

/// Keys on their way to an agent.
pub(crate) fn delivery(session: Uuid, changes: usize) -> Span {
    let changes = i64::try_from(changes).unwrap_or(i64::MAX);
    info_span!(target: TARGET, "deliver keys", keyferry.session = %session, keyferry.changes = changes)
}

/// A password in the queue and in the hands of bcrypt.
pub(crate) fn hashing() -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    info_span!(target: TARGET, "hash password")
}

/// A statement of what is traced; those that nobody asked for, such as looks at the clock, are not.
pub(crate) fn statement(text: &impl Statement) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    let text = text.text();
    let verb = text.split_ascii_whitespace().next();
    info_span!(
        target: TARGET,
        "statement",
        otel.name = verb.unwrap_or_default(),
        otel.kind = "client",
        db.query.text = text,
    )
}

/// What the database is told, without the values.
pub(crate) trait Statement {
    fn text(&self) -> &str;
}

impl Statement for &'static str {
    fn text(&self) -> &str {
        self
    }
}

impl Statement for AssertSqlSafe<String> {
    fn text(&self) -> &str {
        &self.0
    }
}

fn sampler(sampling: Sampling) -> Sampler {
    let ours = Sampler::TraceIdRatioBased(sampling.share);
    match sampling.callers {
        Callers::Decide => Sampler::ParentBased(Box::new(ours)),
        // Parts of a request are traced with it.
        Callers::AreIgnored => ours,
    }
}

fn resource(attributes: &[(String, String)]) -> Resource {
    let ours = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
    ];
    let told = attributes.iter();
    let told = told.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let builder = Resource::builder_empty().with_attributes(ours);
    builder.with_attributes(told).build()
}

/// Under which spans are known to the filters.
pub(crate) const TARGET: &str = "keyferry_trace";
const FAREWELL: Duration = Duration::from_secs(3);
