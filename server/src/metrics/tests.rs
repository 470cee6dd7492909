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
    let told = names(&text);
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
