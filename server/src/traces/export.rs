//! One batch of spans to the collector, as OTLP over HTTP.

use std::fmt::{self, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Request, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::TraceSettings;
use crate::outbound::{Client, OutboundError, Url};

/// Gives batches to the collector. What it does not take is lost: nobody waits for it.
pub(super) struct Exporter {
    collector: Arc<Collector>,
    resource: ResourceAttributesWithSchema,
    runtime: Handle,
}

struct Collector {
    client: Client,
    url: Url,
    headers: HeaderMap,
    patience: Duration,
    /// Whether it has failed us, so that the log says so once.
    is_away: AtomicBool,
}

/// Why the collector has not taken a batch.
#[derive(Debug, thiserror::Error)]
enum Untaken {
    #[error("no answer in time")]
    Slow,
    #[error("{0}")]
    Outbound(#[from] OutboundError),
    #[error("the answer is {0}")]
    Refused(StatusCode),
}

impl Exporter {
    pub(super) fn new(settings: &TraceSettings, runtime: Handle) -> Result<Self, OutboundError> {
        let mut headers = settings.headers.clone();
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        headers.insert(CONTENT_TYPE, protobuf);
        let collector = Collector {
            client: Client::new(settings.authorities.as_deref())?,
            url: settings.url.clone(),
            headers,
            patience: settings.patience,
            is_away: AtomicBool::new(false),
        };
        Ok(Self {
            collector: Arc::new(collector),
            resource: ResourceAttributesWithSchema::default(),
            runtime,
        })
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let collector = Arc::clone(&self.collector);
        // The thread that asks is not one of the runtime's.
        let sent = self
            .runtime
            .spawn(async move { collector.take(body).await });
        let sent = sent.await.map_err(|cause| cause.to_string());
        sent.and_then(|taken| taken.map_err(|cause| cause.to_string()))
            .map_err(OTelSdkError::InternalFailure)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

impl Collector {
    async fn take(&self, body: Vec<u8>) -> Result<(), Untaken> {
        let taken = timeout(self.patience, self.post(body)).await;
        let taken = taken.unwrap_or(Err(Untaken::Slow));
        match &taken {
            Ok(()) if self.is_away.swap(false, Ordering::Relaxed) => {
                info!("the collector takes traces again");
            }
            Err(cause) if !self.is_away.swap(true, Ordering::Relaxed) => {
                warn!(%cause, "the collector does not take traces: they are lost until it does");
            }
            _ => {}
        }
        taken
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), Untaken> {
        let mut request = Request::post("/");
        if let Some(fields) = request.headers_mut() {
            fields.clone_from(&self.headers);
        }
        let answer = self
            .client
            .send(&self.url, request, Bytes::from(body))
            .await?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(Untaken::Refused(status)),
        }
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}
