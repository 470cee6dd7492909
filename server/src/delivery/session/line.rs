//! The line to one agent: sealed messages in WebSocket frames, each way bounded in time.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use keyferry_protocol::channel::{Channel, ChannelError, Receiver, Sender};
use keyferry_protocol::memory::LockedBox;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::Socket;

/// A WebSocket, and once the handshake is done the channel inside it.
pub(super) struct Line {
    socket: Socket,
    channel: Option<(Sender, Receiver)>,
}

/// Why nothing more can be said or heard.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("the agent is gone")]
    Gone,
    #[error("the agent does not take what is sent")]
    Stalled,
    #[error("the connection failed")]
    Socket(#[source] Box<tungstenite::Error>),
    #[error("a message does not open")]
    Channel(#[from] ChannelError),
    #[error("the agent says what the protocol does not know: {0}")]
    Protocol(#[from] keyferry_protocol::wire::Malformed),
    #[error("the agent speaks out of turn")]
    OutOfTurn,
    #[error("no locked memory for a message")]
    Memory(#[from] keyferry_protocol::memory::MemoryError),
}

/// What came over the line.
pub(super) enum Heard {
    /// A message, opened into locked memory.
    Message(LockedBox),
    /// A ping or pong: the agent lives.
    Life,
}

impl Line {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            channel: None,
        }
    }

    /// From now on messages are sealed.
    pub(super) fn secure(&mut self, channel: Channel) {
        self.channel = Some(channel.split());
    }

    /// One handshake message.
    pub(super) async fn receive_clear(&mut self) -> Result<Bytes, LineError> {
        loop {
            if let Some(message) = self.frame().await? {
                return Ok(message);
            }
        }
    }

    /// One handshake message.
    pub(super) async fn send_clear(&mut self, message: Vec<u8>) -> Result<(), LineError> {
        self.send_frame(Message::Binary(message.into())).await
    }

    /// Waits for what the agent says. Dropping the future loses nothing.
    pub(super) async fn hear(&mut self) -> Result<Heard, LineError> {
        let Some(sealed) = self.frame().await? else {
            return Ok(Heard::Life);
        };
        let (_, receiver) = self.channel.as_mut().ok_or(LineError::OutOfTurn)?;
        Ok(Heard::Message(receiver.open(&sealed)?))
    }

    /// Seals a message and sends it.
    pub(super) async fn say(&mut self, message: LockedBox) -> Result<(), LineError> {
        let (sender, _) = self.channel.as_mut().ok_or(LineError::OutOfTurn)?;
        let sealed = sender.seal(message)?;
        self.send_frame(Message::Binary(sealed.into())).await
    }

    /// Ends a session.
    pub(super) async fn close(self) {
        self.end(CloseCode::Normal).await;
    }

    /// One opaque close, whatever the reason.
    pub(super) async fn refuse(self) {
        self.end(CloseCode::Policy).await;
    }

    /// Nothing is decided: the database does not answer.
    pub(super) async fn ask_later(self) {
        self.end(CloseCode::Again).await;
    }

    async fn end(mut self, code: CloseCode) {
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        let _gone_already = timeout(TO_CLOSE, self.socket.close(Some(frame))).await;
    }

    async fn frame(&mut self) -> Result<Option<Bytes>, LineError> {
        match self.socket.next().await {
            Some(Ok(Message::Binary(message))) => Ok(Some(message)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
            Some(Ok(Message::Close(_))) | None => Err(LineError::Gone),
            Some(Ok(_)) => Err(LineError::OutOfTurn),
            Some(Err(cause)) => Err(LineError::Socket(Box::new(cause))),
        }
    }

    async fn send_frame(&mut self, frame: Message) -> Result<(), LineError> {
        let sent = timeout(TO_SEND, self.socket.send(frame)).await;
        sent.map_err(|_elapsed| LineError::Stalled)?
            .map_err(|cause| LineError::Socket(Box::new(cause)))
    }
}

const TO_SEND: Duration = Duration::from_secs(10);
const TO_CLOSE: Duration = Duration::from_secs(1);
