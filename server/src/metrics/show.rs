//! The numbers of the moment, beside those that were counted.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::time::timeout;

use super::process;
use crate::app::App;
use crate::store::Condition;

/// OpenMetrics 1.0.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything, as text.
pub(crate) async fn show(app: &App) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(16 * 1024);
    encode(&mut text, &app.metrics.registry)?;
    // The end that the first part has put there comes after the second.
    let counted = text.trim_end().trim_end_matches("# EOF").len();
    text.truncate(counted);
    let mut now = Registry::with_prefix("keyferry");
    now.register_collector(Box::new(Moment::take(app).await));
    encode(&mut text, &now)?;
    Ok(text)
}

/// A value that is looked up, with its name and what it means.
#[derive(Debug)]
struct Reading {
    name: &'static str,
    help: &'static str,
    value: i64,
}

#[derive(Debug)]
struct Moment(Vec<Reading>);

impl Moment {
    async fn take(app: &App) -> Self {
        let mut readings = of_database(app).await;
        readings.extend(of_cache(app));
        let (waiting, room) = app.hasher.queue();
        let agents = app.attached.count() as u64;
        let shaking = app.attached.shaking_hands() as u64;
        let most = "How many may wait before requests are refused";
        readings.extend([
            reading(
                "password_queue",
                "Passwords that wait to be hashed",
                waiting,
            ),
            reading("password_queue_most", most, room),
            reading(
                "agents_connected",
                "VMs whose agent is connected here",
                agents,
            ),
            reading("agent_handshakes", "Agents that shake hands", shaking),
        ]);
        readings.extend(of_process());
        Self(readings)
    }
}

async fn of_database(app: &App) -> Vec<Reading> {
    let condition = timeout(PATIENCE, app.store.condition()).await;
    let condition = condition.ok().and_then(Result::ok);
    let up = u64::from(condition.is_some());
    let writable = u64::from(condition == Some(Condition::Well));
    let (open, idle, most) = app.store.connections();
    let opened = "Connections to the database that are open";
    vec![
        reading("up", "Whether the database answers", up),
        reading(
            "database_writable",
            "Whether it takes what is written",
            writable,
        ),
        reading("database_connections", opened, open),
        reading(
            "database_connections_idle",
            "Those of them that are not in use",
            idle,
        ),
        reading("database_connections_most", "How many there may be", most),
    ]
}

/// Nothing where there is none.
fn of_cache(app: &App) -> Option<Reading> {
    let connected = app.cache.as_ref()?.is_connected();
    let help = "Whether Redis is connected";
    Some(reading("cache_connected", help, connected.into()))
}

fn of_process() -> impl Iterator<Item = Reading> {
    let memory = process::resident_bytes().map(|bytes| {
        let help = "Memory that the process has in use";
        reading("process_resident_memory_bytes", help, bytes)
    });
    let descriptors = process::open_descriptors().map(|count| {
        let help = "Descriptors that the process has open";
        reading("process_open_fds", help, count)
    });
    memory.into_iter().chain(descriptors)
}

fn reading(name: &'static str, help: &'static str, value: u64) -> Reading {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    Reading { name, help, value }
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for reading in &self.0 {
            let value = ConstGauge::new(reading.value);
            let kind = value.metric_type();
            let metric = encoder.encode_descriptor(reading.name, reading.help, None, kind)?;
            value.encode(metric)?;
        }
        Ok(())
    }
}

/// A database that takes longer than this does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
