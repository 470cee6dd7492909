//! `GET /events`: server-sent events (the HTML standard, §9.2).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Either;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use schemars::{Schema, SchemaGenerator, json_schema};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::describe::Answer;
use super::reply::{Reply, closing};
use super::table::Call;
use crate::delivery::{self, News, Watcher};
use crate::error::ApiError;
use crate::sessions::SignedIn;

/// Events as they happen, until either side has had enough.
pub(super) struct Events {
    news: mpsc::Receiver<News>,
    _answering: Answering,
}

/// While events are sent, the client owes nothing.
struct Answering(Arc<AtomicBool>);

/// An answer that goes on.
pub(super) struct EventStream(Events);

/// Begins to tell the caller what happens in their tenant.
pub(super) async fn stream(call: &Call<'_>, caller: &SignedIn) -> Result<EventStream, ApiError> {
    let connection = call.connection;
    let token = call.token()?.ok_or(ApiError::Unauthenticated)?;
    let proof = (call.origin.clone(), Zeroizing::new(token.to_owned()));
    let watcher = Watcher::admit(&connection.app, caller, proof)?;
    let (out, news) = mpsc::channel(WAITING);
    tokio::spawn(delivery::watch(connection.app.clone(), watcher, out));
    Ok(EventStream(Events {
        news,
        _answering: Answering(Arc::clone(&connection.answering)),
    }))
}

impl Answer for EventStream {
    const MEDIA_TYPE: &'static str = "text/event-stream";

    fn reply(self, status: StatusCode) -> Result<Reply, ApiError> {
        let mut reply = Response::new(Either::Right(self.0));
        *reply.status_mut() = status;
        let kind = HeaderValue::from_static(Self::MEDIA_TYPE);
        reply.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(closing(reply))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let news = generator.subschema_for::<News>();
        // On the wire the data of an event is text, which is JSON in turn: `News` without its tag.
        let data = json_schema!({ "type": "string", "contentMediaType": "application/json" });
        json_schema!({
            "type": "object",
            "properties": { "event": { "type": "string" }, "data": data },
            "required": ["event", "data"],
            "x-news": news,
        })
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.news
            .poll_recv(context)
            .map(|news| news.map(|news| Ok(Frame::data(written(&news)))))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn written(news: &News) -> Bytes {
    if matches!(news, News::Silence) {
        return Bytes::from_static(b":\n\n");
    }
    let news = serde_json::to_value(news).expect("news are plain data");
    let event = news.get("event").and_then(serde_json::Value::as_str);
    let data = news.get("data").cloned().unwrap_or_default();
    format!("event: {}\ndata: {data}\n\n", event.unwrap_or_default()).into()
}

const WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_that_end_with_an_empty_one() {
        assert_eq!(written(&News::Silence), ":\n\n");
        assert_eq!(written(&News::Reload {}), "event: reload\ndata: {}\n\n");
    }
}
