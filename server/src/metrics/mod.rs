//! What the server counts of itself, in the text that Prometheus reads.

mod process;
mod show;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

pub(crate) use show::{MEDIA_TYPE, show};

/// Everything that is counted while it happens. What can be looked up is looked up when asked for.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    refusals: Family<RefusalLabels, Counter>,
    deliveries: Family<DeliveryLabels, Counter>,
    agents_refused: Counter,
    deliveries_failed: Counter,
    audit_regressed: Gauge,
}

/// A request that was answered.
pub(crate) struct Answered {
    pub(crate) method: &'static str,
    /// The pattern of its route; never a path that a stranger made up.
    pub(crate) route: &'static str,
    pub(crate) status: u16,
    pub(crate) seconds: f64,
}

/// What an agent was told about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Told {
    /// It may have this version.
    Put,
    /// A version is over.
    Retire,
    /// The key is gone.
    Revoke,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    told: Told,
}

impl Metrics {
    /// Beside its own counters it shows the durations of the database's statements.
    pub(crate) fn new(statements: Histogram) -> Self {
        let mut registry = Registry::with_prefix("keyferry");
        let counts = &mut registry;
        let requests = register(counts, "http_requests", "Requests answered");
        let durations = register_durations(counts);
        counts.register_with_unit(
            "database_statement_duration",
            "How long statements took, with their wait for a connection",
            Unit::Seconds,
            statements,
        );
        let refusals = register_refusals(counts);
        let deliveries = register(counts, "deliveries", "What agents were told of keys");
        let agents_refused = register(counts, "agents_refused", "Agents that were not let in");
        let deliveries_failed = register(
            counts,
            "deliveries_failed",
            "Looks at what an agent should have that the database or the audit made fail",
        );
        let audit_regressed = register(
            counts,
            "audit_regressed",
            "Chains of the audit that are not what this server has seen of them",
        );
        Self {
            registry,
            requests,
            durations,
            refusals,
            deliveries,
            agents_refused,
            deliveries_failed,
            audit_regressed,
        }
    }

    pub(crate) fn answered(&self, answered: &Answered) {
        let Answered { method, route, .. } = *answered;
        let labels = RequestLabels {
            method,
            route,
            status: answered.status,
        };
        self.requests.get_or_create(&labels).inc();
        let took = self.durations.get_or_create(&RouteLabels { route });
        took.observe(answered.seconds);
    }

    pub(crate) fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&RefusalLabels { code }).inc();
    }

    pub(crate) fn told(&self, told: Told) {
        self.deliveries
            .get_or_create(&DeliveryLabels { told })
            .inc();
    }

    pub(crate) fn agent_refused(&self) {
        self.agents_refused.inc();
    }

    pub(crate) fn delivery_failed(&self) {
        self.deliveries_failed.inc();
    }

    pub(crate) fn audit_regressed(&self, chains: usize) {
        self.audit_regressed
            .set(i64::try_from(chains).unwrap_or(i64::MAX));
    }
}

fn register<M: Metric + Default + Clone>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn register_durations(registry: &mut Registry) -> Family<RouteLabels, Histogram> {
    let durations = Family::new_with_constructor(new_histogram as fn() -> Histogram);
    registry.register_with_unit(
        "http_request_duration",
        "How long requests took, from their head to their answer",
        Unit::Seconds,
        durations.clone(),
    );
    durations
}

fn register_refusals(registry: &mut Registry) -> Family<RefusalLabels, Counter> {
    let refusals: Family<_, Counter> = register(registry, "refusals", "Requests refused, by code");
    // From the start, or nobody would see the first one come.
    for code in ALERTING {
        drop(refusals.get_or_create(&RefusalLabels { code }));
    }
    refusals
}

/// The codes that the alert rules ask for.
const ALERTING: [&str; 5] = [
    "internal",
    "unavailable",
    "invalid_credentials",
    "invalid_code",
    "rate_limited",
];

/// From a statement or a remembered token check to a bcrypt hash in a long queue.
pub(crate) fn new_histogram() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    ])
}

#[cfg(test)]
mod tests;
