//! A host that speaks HTTP/2 (RFC 9113).
//!
//! ```text
//!  tool ─HTTP/1.1─▶ hyper: frames of everything but the key ─▶ wire: adds the fields with the key ─▶ TLS
//!                                                                    from locked memory
//! ```
//!
//! hyper never sees the key, so none of its tables and buffers has it. A connection serves one
//! request after the other, as one of HTTP/1.1 does.

mod answer;
mod head;
mod tool_body;
mod wire;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keyferry_protocol::memory::LockedBox;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use self::answer::download;
use self::tool_body::{ToolBody, upload};
use self::wire::{Slot, Wire};
use super::body::send;
use super::exchange::{Answered, Tool, Traffic};
use super::refusal::Refused;
use super::request::Request;

/// A connection to it.
pub(super) struct Two {
    requests: SendRequest<ToolBody>,
    fields: Slot,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Two {
    pub(super) async fn open(stream: TlsStream<TcpStream>) -> Result<Self, Refused> {
        let fields = Slot::default();
        let wire = Wire::new(stream, fields.clone());
        let mut http = Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(LONGEST_HEAD);
        let opened = http.handshake(TokioIo::new(wire)).await;
        let (requests, connection) = opened.map_err(|_gone| Refused::Closed)?;
        Ok(Self {
            requests,
            fields,
            connection: tokio::spawn(connection),
        })
    }

    /// The next request goes with these fields.
    pub(super) fn prepare(&mut self, fields: LockedBox) {
        self.fields.put(fields);
    }

    /// Both ways at once: an answer may come before the request is whole.
    pub(super) async fn relay(
        &mut self,
        (request, authority): (&mut Request, &str),
        (tool, traffic): (&mut Tool, &mut Traffic),
    ) -> Result<Answered, Refused> {
        let head = request.for_http2(authority).ok_or(Refused::Malformed)?;
        if request.expects_to_be_continued() {
            let told = send(&mut tool.stream, CONTINUE).await;
            told.map_err(|_gone| Refused::Closed)?;
        }
        let (pieces, body) = ToolBody::of(&request.body);
        let answer = self.requests.send_request(head.map(|()| body));
        let of_head = request.is_head();
        let (mut from_tool, mut to_tool) = tool.stream.split();
        let download = download(answer, of_head, (&mut to_tool, &mut traffic.received));
        let upload = upload(
            (&mut request.body, &mut tool.inbox),
            (&mut from_tool, pieces),
            &mut traffic.sent,
        );
        tokio::select! {
            biased;
            answered = download => answered,
            () = upload => Ok(Answered::Ended),
        }
    }

    /// When the host hangs up.
    pub(super) async fn gone(&mut self) {
        let _however_it_ended = (&mut self.connection).await;
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// As a host would say it, who says nothing of the kind in HTTP/2 that could be passed on in time.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// So much of an answer may be on its way to a slow tool.
const WINDOW: u32 = 1 << 20;
const LONGEST_HEAD: u32 = 64 * 1024;
