//! The line to Redis. It holds nothing that may not be lost, and nobody waits for it long: while
//! it is down, callers do without.

mod addresses;
mod line;
mod source;

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use redis::aio::PubSubSink;
use redis::{Cmd, ErrorKind, FromRedisValue, Msg, RedisError, RedisResult, cmd};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::warn;
use uuid::Uuid;

use crate::store::UnixTime;

use line::Line;
pub(crate) use source::Source;

/// The Redis that several servers share. Clones share the line.
#[derive(Clone)]
pub(crate) struct Cache(Arc<Shared>);

struct Shared {
    source: Arc<Source>,
    /// What everything of this installation is named by.
    prefix: String,
    line: RwLock<Option<Line>>,
    /// Rung when a command fails.
    alarm: Notify,
}

/// One stretch of being connected, which hears what is published.
pub(crate) struct Hearing {
    sink: PubSubSink,
    messages: Pin<Box<dyn Stream<Item = Msg> + Send>>,
}

/// What happened on the line.
pub(crate) enum Heard {
    /// Something was published.
    Message(String),
    /// The line is lost.
    Lost(RedisError),
}

impl Cache {
    pub(crate) fn new(source: Arc<Source>, instance: Uuid) -> Self {
        Self(Arc::new(Shared {
            source,
            prefix: format!("keyferry:{instance}:"),
            line: RwLock::default(),
            alarm: Notify::new(),
        }))
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.line().is_some()
    }

    /// What this installation calls `name`.
    pub(crate) fn named(&self, name: &str) -> String {
        [&self.0.prefix, name].concat()
    }

    /// Asks for something; nothing when Redis does not answer.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        let answer = self.line()?.ask(command).await;
        self.answered(answer)
    }

    /// Tells whoever listens; nobody hears it while Redis does not answer.
    pub(crate) async fn publish(&self, message: &str) {
        let _hearers: Option<i64> = self.ask(&self.publishing(message)).await;
    }

    /// Makes the line.
    pub(crate) async fn connect(&self) -> RedisResult<Hearing> {
        within(TO_CONNECT, self.dial()).await
    }

    /// Everything that will be needed is tried before the line counts as one: a write by a script,
    /// every primary, and that what is published is heard.
    async fn dial(&self) -> RedisResult<Hearing> {
        let (mut listener, line) = self.0.source.open().await?;
        listener.subscribe(self.named(CHANNEL)).await?;
        let (sink, messages) = listener.split();
        let mut hearing = Hearing {
            sink,
            messages: Box::pin(messages),
        };
        let mut trial = script("return redis.call('SET', KEYS[1], '', 'PX', 1)");
        let () = line.clone().ask(trial.arg(self.named("trial"))).await?;
        line.clone().reach_all().await?;
        let _hearers: i64 = line.clone().ask(&self.publishing("trial")).await?;
        if let Heard::Lost(cause) = hearing.hear().await {
            return Err(cause);
        }
        *self.0.line.write().unwrap_or_else(PoisonError::into_inner) = Some(line);
        Ok(hearing)
    }

    fn publishing(&self, message: &str) -> Cmd {
        let mut publish = cmd("PUBLISH");
        publish.arg(self.named(CHANNEL)).arg(message);
        publish
    }

    /// What time Redis has; nothing when it does not answer.
    pub(crate) async fn time(&self) -> Option<UnixTime> {
        let (seconds, rest): (i64, i64) = self.ask(&cmd("TIME")).await?;
        Some(UnixTime::from_microseconds(seconds * 1_000_000 + rest))
    }

    /// Asks for a sign of life from where messages come from, and from every primary.
    pub(crate) async fn feel_pulse(&self, hearing: &mut Hearing) -> RedisResult<()> {
        let () = within(TO_ANSWER, hearing.sink.ping()).await?;
        match self.line() {
            Some(line) => within(TO_ANSWER, line.reach_all()).await,
            None => Ok(()),
        }
    }

    /// Waits until a command has failed.
    pub(crate) async fn failed(&self) -> RedisError {
        self.0.alarm.notified().await;
        RedisError::from((ErrorKind::Io, "a command failed"))
    }

    fn line(&self) -> Option<Line> {
        let line = self.0.line.read().unwrap_or_else(PoisonError::into_inner);
        line.clone()
    }

    /// From now on callers do without.
    pub(crate) fn hang_up(&self) {
        *self.0.line.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// After the first command that fails nobody tries another on this line.
    fn answered<T>(&self, answer: RedisResult<T>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(cause) => {
                self.hang_up();
                warn!(%cause, "a command to Redis failed");
                self.0.alarm.notify_one();
                None
            }
        }
    }
}

impl Hearing {
    /// Waits for a message. Dropping the future loses nothing.
    pub(crate) async fn hear(&mut self) -> Heard {
        let message = self.messages.next().await;
        let lost = || RedisError::from((ErrorKind::Io, "the connection that listens is gone"));
        match message.map(|message| message.get_payload()) {
            Some(Ok(text)) => Heard::Message(text),
            Some(Err(_)) => Heard::Lost(lost()),
            None => Heard::Lost(lost()),
        }
    }
}

/// A call of a script for one key, which is the next argument; more may follow. It goes whole each
/// time: a primary that was a replica a moment ago knows no script by its hash.
pub(crate) fn script(text: &str) -> Cmd {
    let mut call = cmd("EVAL");
    call.arg(text).arg(1);
    call
}

async fn within<T>(limit: Duration, step: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = |_| RedisError::from((ErrorKind::Io, "no answer in time"));
    timeout(limit, step).await.map_err(late)?
}

/// Where servers tell each other what changed.
const CHANNEL: &str = "events";
const TO_CONNECT: Duration = Duration::from_secs(2);
/// Requests wait for it, so it is short; what is slower counts as down.
const TO_ANSWER: Duration = Duration::from_millis(500);
