//! What each vendor says to a question, in its own words.

use serde_json::{Value, json};

/// In one piece.
pub(super) fn whole(path: &str) -> Value {
    match Vendor::of(path) {
        Vendor::OpenAi => json!({
            "id": "chat-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": { "role": "assistant", "content": "ferried" },
            }],
            "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
        }),
        Vendor::Anthropic => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{ "type": "text", "text": "ferried" }],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": { "input_tokens": 1, "output_tokens": 1 },
        }),
        Vendor::Google => candidate("ferried"),
    }
}

/// The same in two pieces: `fer`, then `ried` and the end.
pub(super) fn pieces(path: &str) -> Vec<String> {
    match Vendor::of(path) {
        Vendor::OpenAi => {
            let chunk = |text| {
                let choice = json!({ "index": 0, "delta": { "content": text } });
                json!({
                    "id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [choice],
                })
            };
            let (first, second) = (chunk("fer"), chunk("ried"));
            vec![
                format!("data: {first}\n\n"),
                format!("data: {second}\n\ndata: [DONE]\n\n"),
            ]
        }
        Vendor::Anthropic => {
            let mut message = whole(path);
            message["content"] = json!([]);
            let block = json!({ "type": "text", "text": "" });
            let delta = |text| {
                let delta = json!({ "type": "text_delta", "text": text });
                event(&json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
            };
            let first = [
                event(&json!({ "type": "message_start", "message": message })),
                event(
                    &json!({ "type": "content_block_start", "index": 0, "content_block": block }),
                ),
                delta("fer"),
            ];
            let end = json!({ "stop_reason": "end_turn", "stop_sequence": null });
            let usage = json!({ "output_tokens": 2 });
            let second = [
                delta("ried"),
                event(&json!({ "type": "content_block_stop", "index": 0 })),
                event(&json!({ "type": "message_delta", "delta": end, "usage": usage })),
                event(&json!({ "type": "message_stop" })),
            ];
            vec![first.concat(), second.concat()]
        }
        Vendor::Google => ["fer", "ried"]
            .map(|text| format!("data: {}\n\n", candidate(text)))
            .to_vec(),
    }
}

enum Vendor {
    OpenAi,
    Anthropic,
    Google,
}

impl Vendor {
    /// Groq's paths end as OpenAI's do.
    fn of(path: &str) -> Self {
        match path {
            "/v1/messages" => Self::Anthropic,
            path if path.contains("generateContent") || path.contains("GenerateContent") => {
                Self::Google
            }
            _ => Self::OpenAi,
        }
    }
}

fn candidate(text: &str) -> Value {
    let content = json!({ "parts": [{ "text": text }], "role": "model" });
    json!({ "candidates": [{ "content": content, "finishReason": "STOP", "index": 0 }] })
}

fn event(data: &Value) -> String {
    let kind = data["type"].as_str().unwrap();
    format!("event: {kind}\ndata: {data}\n\n")
}
