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
        let up = timeout(PATIENCE, app.store.ping()).await;
        let (open, idle, most) = app.store.connections();
        let (waiting, room) = app.hasher.queue();
        let readings = [
            (
                "up",
                "Whether the database answers",
                u64::from(matches!(up, Ok(Ok(())))),
            ),
            (
                "database_connections",
                "Connections to the database that are open",
                open,
            ),
            (
                "database_connections_idle",
                "Those of them that are not in use",
                idle,
            ),
            ("database_connections_most", "How many there may be", most),
            (
                "password_queue",
                "Passwords that wait to be hashed",
                waiting,
            ),
            (
                "password_queue_most",
                "How many may wait before requests are refused",
                room,
            ),
            (
                "agents_connected",
                "Agent sessions of this server",
                app.attached.count() as u64,
            ),
            (
                "agent_handshakes",
                "Agents that shake hands",
                app.attached.shaking_hands() as u64,
            ),
        ];
        let known = |(name, help, value): (_, _, u64)| Reading {
            name,
            help,
            value: i64::try_from(value).unwrap_or(i64::MAX),
        };
        let mut readings: Vec<_> = readings.into_iter().map(known).collect();
        let memory = "Memory that the process has in use";
        let descriptors = "Descriptors that the process has open";
        let of_process = [
            (
                "process_resident_memory_bytes",
                memory,
                process::resident_bytes(),
            ),
            ("process_open_fds", descriptors, process::open_descriptors()),
        ];
        let of_process = of_process.into_iter();
        readings
            .extend(of_process.filter_map(|(name, help, value)| Some(known((name, help, value?)))));
        Self(readings)
    }
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
