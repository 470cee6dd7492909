//! The line to Redis. It holds nothing that may not be lost, and nobody waits for it long: while
//! it is down, callers do without.

mod source;

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use redis::aio::{MultiplexedConnection, PubSubSink};
use redis::{
    AsyncConnectionConfig, ErrorKind, FromRedisValue, Msg, RedisError, RedisResult, Script,
    ScriptInvocation, cmd,
};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::warn;
use uuid::Uuid;

use crate::store::UnixTime;

pub(crate) use source::Source;

/// The Redis that several servers share. Clones share the line.
#[derive(Clone)]
pub(crate) struct Cache(Arc<Shared>);

struct Shared {
    source: Arc<Source>,
    /// What everything of this installation is named by.
    prefix: String,
    line: RwLock<Option<MultiplexedConnection>>,
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

    /// Runs a script; nothing when Redis does not answer.
    pub(crate) async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Option<T> {
        let mut line = self.line()?;
        let answer = call.invoke_async(&mut line).await;
        self.answered(answer)
    }

    /// Tells whoever listens; nobody hears it while Redis does not answer.
    pub(crate) async fn publish(&self, message: &str) {
        let Some(mut line) = self.line() else {
            return;
        };
        let mut publish = cmd("PUBLISH");
        publish.arg(self.named(CHANNEL)).arg(message);
        let _hearers: Option<i64> = self.answered(publish.query_async(&mut line).await);
    }

    /// Makes the line.
    pub(crate) async fn connect(&self) -> RedisResult<Hearing> {
        within(TO_CONNECT, self.dial()).await
    }

    /// Everything that will be needed is tried before the line counts as one.
    async fn dial(&self) -> RedisResult<Hearing> {
        let client = self.0.source.client().await?;
        let mut hearing = client.get_async_pubsub().await?;
        hearing.subscribe(self.named(CHANNEL)).await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(TO_ANSWER));
        let mut line = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let trial = Script::new("return redis.call('SET', KEYS[1], '', 'PX', 1)");
        let () = trial
            .key(self.named("trial"))
            .invoke_async(&mut line)
            .await?;
        *self.0.line.write().unwrap_or_else(PoisonError::into_inner) = Some(line);
        let (sink, messages) = hearing.split();
        Ok(Hearing {
            sink,
            messages: Box::pin(messages),
        })
    }

    /// What time Redis has; nothing when it does not answer.
    pub(crate) async fn time(&self) -> Option<UnixTime> {
        let mut line = self.line()?;
        let answer = cmd("TIME").query_async(&mut line).await;
        let (seconds, rest): (i64, i64) = self.answered(answer)?;
        Some(UnixTime::from_microseconds(seconds * 1_000_000 + rest))
    }

    /// Waits until a command has failed.
    pub(crate) async fn failed(&self) -> RedisError {
        self.0.alarm.notified().await;
        RedisError::from((ErrorKind::Io, "a command failed"))
    }

    fn line(&self) -> Option<MultiplexedConnection> {
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

    /// Asks for a sign of life where messages come from.
    pub(crate) async fn ping(&mut self) -> RedisResult<()> {
        within(TO_ANSWER, self.sink.ping()).await
    }
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
