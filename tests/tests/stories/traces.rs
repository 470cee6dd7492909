//! An operator's collector is told what each request waited for, and nothing that is secret.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use hyper::Method;
use keyferry_tests::{
    Agent, Engine, PASSWORD, Person, Program, Receiver, Secret, Server, Stage, curl, free_port,
    on_both_engines, promptly, python_with_opentelemetry, rotel, until,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;

on_both_engines!(
    requests_and_deliveries_are_traced_without_a_secret,
    a_trace_of_somebody_else_goes_on_for_a_proxy_of_ours_alone,
    a_collector_that_is_away_holds_nobody_up,
);

/// What a collector was told.
struct Collected {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Collected {
    fn new() -> Self {
        let (bytes, spans) = (Vec::new(), Vec::new());
        Self { bytes, spans }
    }

    /// Waits for a span of this name.
    async fn until(&mut self, collector: &mut Receiver, name: &str) -> Span {
        until(name, async || {
            for sent in collector.so_far() {
                self.take(&sent.body);
            }
            self.spans.iter().find(|span| span.name == name).cloned()
        })
        .await
    }

    fn take(&mut self, body: &[u8]) {
        let batch = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = batch.resource_spans.into_iter();
        let scopes = scopes.flat_map(|resource| resource.scope_spans);
        self.spans.extend(scopes.flat_map(|scope| scope.spans));
        self.bytes.extend_from_slice(body);
    }

    fn parts_of(&self, whole: &Span) -> Vec<&Span> {
        let parts = self.spans.iter();
        let parts = parts.filter(|span| span.parent_span_id == whole.span_id);
        parts.collect()
    }

    fn has(&self, text: &str) -> bool {
        let mut windows = self.bytes.windows(text.len());
        windows.any(|window| window == text.as_bytes())
    }
}

fn text(span: &Span, name: &str) -> String {
    match attribute(span, name) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{name} is {other:?} in {span:?}"),
    }
}

fn number(span: &Span, name: &str) -> i64 {
    match attribute(span, name) {
        Some(Value::IntValue(number)) => number,
        other => panic!("{name} is {other:?} in {span:?}"),
    }
}

fn attribute(span: &Span, name: &str) -> Option<Value> {
    let mut all = span.attributes.iter();
    let found = all.find(|attribute| attribute.key == name)?;
    found.value.clone()?.value
}

async fn requests_and_deliveries_are_traced_without_a_secret(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut collector = Receiver::start(200).await;
    let url = collector.url("");
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of-the-collector"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let mut server = Server::start_with(&stage, &settings);
    let ada = Person::register(&stage, &server, "ada-lovelace");
    let secret = Secret::fresh();
    ada.put("the-name-of-a-key", &secret);
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("the-name-of-a-key", 1).await;

    let mut collected = Collected::new();
    let first = collector.next().await;
    assert!(first.head.starts_with("POST /v1/traces "), "{}", first.head);
    assert_eq!(first.field("x-key"), "of-the-collector");
    collected.take(&first.body);
    let put = collected.until(&mut collector, "PUT /keys/{name}").await;
    assert_eq!(text(&put, "http.route"), "/keys/{name}");
    assert_eq!(number(&put, "http.response.status_code"), 201);
    assert_eq!(text(&put, "keyferry.request_id").len(), 36);
    let register = collected.until(&mut collector, "POST /auth/register").await;
    let delivery = collected.until(&mut collector, "deliver keys").await;
    collected.until(&mut collector, "agent handshake").await;
    assert_eq!(number(&delivery, "keyferry.changes"), 1);

    // What waits is told when the server stops.
    server.ask(Method::GET, "/health", None, None).await;
    assert!(server.terminate().success());
    collected.until(&mut collector, "GET /health").await;

    let parts = collected.parts_of(&register);
    assert!(parts.iter().any(|part| part.name == "hash password"));
    let written = parts.iter().find(|part| part.name == "COMMIT");
    assert!(written.is_some(), "{parts:?}");
    let insert = parts.iter().find(|part| part.name == "INSERT").unwrap();
    assert!(text(insert, "db.query.text").contains("$1"));
    assert!(
        collected
            .parts_of(&delivery)
            .iter()
            .any(|part| part.name == "COMMIT")
    );

    assert!(collected.has("PUT /keys/{name}"), "what is there is found");
    let session = std::fs::read_to_string(ada.session_file()).unwrap();
    let tokens = session.split('"').filter(|word| word.len() > 30);
    for hidden in [
        secret.text(),
        PASSWORD,
        "ada-lovelace",
        "the-name-of-a-key",
        "kali-1",
    ] {
        assert!(!collected.has(hidden), "{hidden}");
    }
    for token in tokens.filter(|token| !token.starts_with("sha256:")) {
        assert!(!collected.has(token), "{token}");
    }
}

async fn a_trace_of_somebody_else_goes_on_for_a_proxy_of_ours_alone(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut collector = Receiver::start(200).await;
    let url = collector.url("");
    for (proxies, is_followed) in [("", false), ("127.0.0.0/8", true)] {
        let settings = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("KEYFERRY_TRUSTED_PROXIES", proxies),
            ("KEYFERRY_PLAIN_HTTP", "true"),
        ];
        let mut server = Server::start_with(&stage, &settings);
        curl(&server, "/health", &["--header", TRACEPARENT]);
        let mut collected = Collected::new();
        let span = collected.until(&mut collector, "GET /health").await;
        let trace: String = span
            .trace_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(trace == TRACE, is_followed, "{proxies}");
        assert_eq!(!span.parent_span_id.is_empty(), is_followed, "{proxies}");
        // To look a stranger's request up by what he calls it, this is enough.
        let id = text(&span, "keyferry.request_id").replace('-', "");
        assert_eq!(id, TRACE, "{proxies}");
        assert!(server.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_behind_tls_is_told_when_its_authority_is_known() {
    let stage = Stage::new(Engine::Sqlite).await;
    let authority = stage.path("collector.pem");
    let mut collector = Receiver::start_with_tls(200, &authority).await;
    let url = collector.url("");
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str());
    let often = ("OTEL_BSP_SCHEDULE_DELAY", "50");
    let mut server = Server::start_with(&stage, &[endpoint, often]);
    server.ask(Method::GET, "/health", None, None).await;
    until("it is not trusted", async || {
        let log = server.log();
        log.contains("the collector does not take traces")
            .then_some(())
    })
    .await;
    assert!(server.terminate().success());
    assert!(collector.so_far().is_empty());
    let authority = authority.to_str().unwrap();
    let known = ("OTEL_EXPORTER_OTLP_CERTIFICATE", authority);
    let server = Server::start_with(&stage, &[endpoint, often, known]);
    server.ask(Method::GET, "/health", None, None).await;
    Collected::new().until(&mut collector, "GET /health").await;
}

/// With the definitions that OpenTelemetry publishes for Python.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_implementation_reads_what_the_collector_is_sent() {
    let stage = Stage::new(Engine::Sqlite).await;
    let mut collector = Receiver::start(200).await;
    let url = collector.url("");
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let mut server = Server::start_with(&stage, &settings);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    assert!(server.terminate().success());

    let sent = collector.so_far().into_iter().enumerate();
    let files = sent.map(|(number, sent)| {
        let path = stage.path(&format!("sent-{number}"));
        std::fs::write(&path, sent.body).unwrap();
        path
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/otlp.py");
    let mut reader = Program::start(&stage, "otlp", python_with_opentelemetry(), |python| {
        python.arg(script).args(files);
    });
    let lines = reader.lines_to_the_end();
    assert!(reader.wait().success(), "{}", reader.log());
    let spans = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    let spans: Vec<serde_json::Value> = spans.collect();
    assert!(
        spans
            .iter()
            .all(|span| span["service"] == "keyferry-server")
    );
    let put = spans
        .iter()
        .find(|span| span["span"]["name"] == "PUT /keys/{name}");
    let put = &put.unwrap()["span"];
    assert_eq!(put["kind"], "SPAN_KIND_SERVER");
    let route = json!({ "key": "http.route", "value": { "stringValue": "/keys/{name}" } });
    assert!(
        put["attributes"].as_array().unwrap().contains(&route),
        "{put}"
    );
    let inside = spans.iter().map(|span| &span["span"]["parentSpanId"]);
    assert!(inside.into_iter().any(|parent| *parent == put["spanId"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_people_run_is_told_before_and_after_it_was_away() {
    let stage = Stage::new(Engine::Sqlite).await;
    let address = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{address}");
    let mut collector = start_rotel(&stage, &address).await;
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("KEYFERRY_TRUSTED_PROXIES", "127.0.0.0/8"),
        ("KEYFERRY_PLAIN_HTTP", "true"),
    ];
    let server = Server::start_with(&stage, &settings);
    curl(&server, "/health", &["--header", TRACEPARENT]);
    let shown = what_is_shown_of_a_request(&mut collector);
    for line in [
        "Trace ID       : 4bf92f3577b34da6a3ce929d0e0e4736",
        "Parent ID      : 00f067aa0ba902b7",
        "Name           : GET /health",
        "Kind           : SPAN_KIND_SERVER",
        "-> http.route: Str(/health)",
        "-> keyferry.request_id: Str(4bf92f35-77b3-4da6-a3ce-929d0e0e4736)",
        "-> http.response.status_code: Int(200)",
    ] {
        assert!(shown.iter().any(|shown| shown == line), "{line}: {shown:?}");
    }

    collector.kill();
    curl(&server, "/health", &[]);
    until("the log says that it is away", async || {
        let log = server.log();
        log.contains("the collector does not take traces")
            .then_some(())
    })
    .await;
    let mut collector = start_rotel(&stage, &address).await;
    curl(&server, "/health", &["--header", TRACEPARENT]);
    let shown = what_is_shown_of_a_request(&mut collector);
    assert!(shown.iter().any(|line| line.ends_with(TRACE)), "{shown:?}");
}

/// It prints whatever it takes.
async fn start_rotel(stage: &Stage, address: &str) -> Program {
    let collector = Program::start(stage, "rotel", rotel(), |command| {
        command.args(["start", "--otlp-http-endpoint", address]);
        command.args(["--otlp-grpc-endpoint", "127.0.0.1:0"]);
        command.args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"]);
        command.args(["--exporter", "blackhole"]);
        command.arg("--pid-file").arg(stage.path("rotel.pid"));
    });
    until("it listens", async || {
        std::net::TcpStream::connect(address).ok()
    })
    .await;
    collector
}

/// The lines about the next span that has a status of HTTP, which is the last thing said of it.
fn what_is_shown_of_a_request(rotel: &mut Program) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = rotel.next_line().trim().to_owned();
        if line.starts_with("Span #") {
            lines.clear();
        }
        let is_the_last = line.starts_with("-> http.response.status_code");
        lines.push(line);
        if is_the_last {
            return lines;
        }
    }
}

async fn a_collector_that_is_away_holds_nobody_up(engine: Engine) {
    let stage = Stage::new(engine).await;
    // Nobody accepts what is waiting here, and nobody refuses it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "200"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
    ];
    let mut server = Server::start_with(&stage, &settings);
    promptly(Duration::from_secs(10), async |_attempt| {
        let begin = Instant::now();
        for _ in 0..100 {
            let answer = server.ask(Method::GET, "/plans", None, None).await;
            assert_eq!(answer.status, 200);
        }
        begin.elapsed()
    })
    .await;
    const TOLD: &str = "the collector does not take traces";
    promptly(Duration::from_secs(8), async |attempt| {
        if attempt > 0 {
            server.start_again(&stage);
            server.ask(Method::GET, "/health", None, None).await;
        }
        until("the log says so", async || {
            (server.log().matches(TOLD).count() > attempt).then_some(())
        })
        .await;
        let begin = Instant::now();
        assert!(server.terminate().success());
        let took = begin.elapsed();
        let log = server.log();
        assert_eq!(log.matches(TOLD).count(), attempt + 1, "{log}");
        took
    })
    .await;
    drop(silent);
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
