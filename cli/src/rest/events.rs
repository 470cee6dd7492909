//! A stream of server-sent events.

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

use super::exchange::PATIENCE;
use super::{Problem, RestError};

/// An open stream.
pub struct Events {
    body: Incoming,
    received: BytesMut,
    /// Ends the connection with the stream.
    _connection: super::exchange::Held,
}

/// One event.
pub struct Event {
    /// What kind.
    pub kind: String,
    /// What it says.
    pub data: Value,
}

impl Events {
    pub(super) fn new(response: Response<Incoming>, connection: super::exchange::Held) -> Self {
        Self {
            body: response.into_body(),
            received: BytesMut::new(),
            _connection: connection,
        }
    }

    /// The next event; `None` when the server has ended the stream. A server that is silent for
    /// longer than its heart beats is gone.
    pub async fn next(&mut self) -> Result<Option<Event>, RestError> {
        loop {
            while let Some(end) = find(&self.received, b"\n\n") {
                let event = parse(self.received.get(..end).unwrap_or_default());
                self.received.advance(end + 2);
                if event.is_some() {
                    return Ok(event);
                }
            }
            if self.received.len() > LONGEST {
                return Err(RestError::Answer);
            }
            let frame = timeout(PATIENCE, self.body.frame()).await;
            match frame.map_err(|_| RestError::TimedOut)? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.received.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

/// What opening a stream came to.
pub enum Opened {
    /// It is open.
    Events(Events),
    /// The server refuses.
    Refused(Problem),
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Comments are no events.
fn parse(bytes: &[u8]) -> Option<Event> {
    let text = std::str::from_utf8(bytes).ok()?;
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
    Some(Event {
        kind: field("event: ")?.to_owned(),
        data: serde_json::from_str(field("data: ")?).ok()?,
    })
}

const LONGEST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_kind_and_data_and_a_comment_is_none() {
        let event = parse(b"event: held\ndata: {\"version\":2}").unwrap();
        assert_eq!(
            (event.kind.as_str(), &event.data["version"]),
            ("held", &2.into())
        );
        assert!(parse(b":").is_none());
        assert!(parse(b"event: held\ndata: nonsense").is_none());
    }
}
