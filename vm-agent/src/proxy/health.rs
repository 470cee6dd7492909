//! `GET /health` at the proxy's port, for monitors: how the agent is, in one word, and nothing of
//! its keys.

use keyferry_sdk::status::Health;
use serde_json::json;

/// Whether a head without a token asks for it.
pub(super) fn is_asked(head: &[u8]) -> bool {
    head.starts_with(b"GET /health HTTP/1.1\r\n")
}

/// 200 while the agent hears of every change, 503 otherwise.
pub(super) fn answer(health: Health) -> Vec<u8> {
    let status = match health {
        Health::Healthy => "200 OK",
        _ => "503 Service Unavailable",
    };
    let body = json!({ "health": health }).to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_healthy_agent_is_well() {
        for (health, begins) in [
            (Health::Healthy, "HTTP/1.1 200 "),
            (Health::Stale, "HTTP/1.1 503 "),
            (Health::Disconnected, "HTTP/1.1 503 "),
        ] {
            let answer = String::from_utf8(answer(health)).unwrap();
            assert!(answer.starts_with(begins), "{answer}");
        }
        assert!(is_asked(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(!is_asked(b"GET /healthy HTTP/1.1\r\n\r\n"));
    }
}
