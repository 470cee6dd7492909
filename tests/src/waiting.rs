//! Waits for a condition, never for a time.

use std::time::{Duration, Instant};

/// How long anything may take before a story fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for midnight (UTC) when it is near: what is counted in a day has to be counted in one.
pub async fn until_the_day_is_long_enough() {
    const DAY: u64 = 86_400;
    const ENOUGH: u64 = 120;
    let now = keyferry_sdk::lease::now().wall;
    let left = DAY - now.as_secs() % DAY;
    if left < ENOUGH {
        tokio::time::sleep(Duration::from_secs(left)).await;
    }
}

/// Plays a scene up to three times until what it measures is within its bound: a machine that stands
/// still for a moment is late once, a product that is late is late always. The scene is told which
/// attempt it is.
pub async fn promptly(bound: Duration, mut scene: impl AsyncFnMut(usize) -> Duration) {
    let mut fastest = Duration::MAX;
    for attempt in 0..3 {
        fastest = fastest.min(scene(attempt).await);
        if fastest < bound {
            return;
        }
    }
    panic!("three times later than {bound:?}: at best {fastest:?}");
}

/// Asks again and again until there is an answer, and fails after [`PATIENCE`].
pub async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(
            begin.elapsed() < PATIENCE,
            "waited {PATIENCE:?} until {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
