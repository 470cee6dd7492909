use std::collections::BTreeSet;

use super::{Answered, Told, show};
use crate::testing;

/// Everything that looks like one of our metrics.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
    text.split(word)
        .filter(|word| word.starts_with("keyferry_"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn what_dashboard_and_alerts_ask_for_is_there() {
    let server = testing::server().await;
    let metrics = &server.app.metrics;
    metrics.answered(&Answered {
        method: "GET",
        route: "/keys/{name}",
        status: 200,
        seconds: 0.004,
    });
    metrics.refused("rate_limited");
    metrics.told(Told::Put);
    metrics.agent_refused();
    let text = show(&server.app).await.unwrap();
    assert!(
        text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1,
        "{text}"
    );
    let counted =
        "keyferry_http_requests_total{method=\"GET\",route=\"/keys/{name}\",status=\"200\"} 1";
    assert!(text.contains(counted), "{text}");
    assert!(
        text.contains("keyferry_deliveries_total{told=\"Put\"} 1"),
        "{text}"
    );
    assert!(text.contains("keyferry_up 1"), "{text}");
    let told = &names(&text) | &BTreeSet::from(["keyferry_cache_connected".to_owned()]);
    for file in [
        include_str!("../../../packaging/observability/grafana-dashboard.json"),
        include_str!("../../../packaging/observability/prometheus-alerts.yml"),
    ] {
        let asked = names(file);
        assert!(asked.len() > 4, "{asked:?}");
        let unknown: Vec<_> = asked.difference(&told).collect();
        assert!(unknown.is_empty(), "{unknown:?} are not among {told:?}");
    }
}

/// An increase is seen only of what was there before it.
#[tokio::test]
async fn every_code_that_an_alert_asks_for_is_counted_from_the_start() {
    let server = testing::server().await;
    let text = show(&server.app).await.unwrap();
    let alerts = include_str!("../../../packaging/observability/prometheus-alerts.yml");
    let asked = alerts.split("code=").skip(1);
    let asked = asked.filter_map(|rest| rest.split('"').nth(1));
    let codes: Vec<&str> = asked.flat_map(|codes| codes.split('|')).collect();
    assert!(codes.len() >= 5, "{codes:?}");
    for code in codes {
        let counted = format!("keyferry_refusals_total{{code=\"{code}\"}} 0");
        assert!(text.contains(&counted), "{counted}: {text}");
    }
    assert!(
        text.contains("keyferry_deliveries_failed_total 0"),
        "{text}"
    );
}
