//! Writes mails and sees them off, after the answer and more than once when the server is away.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::address::Address;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox, SinglePart};
use tokio::sync::Semaphore;
use tracing::{error, warn};
use uuid::Uuid;

use super::{Mail, MailError, Route};
use crate::background::Background;
use crate::clock::Clock;

/// Sends mails. Clones share it.
#[derive(Clone)]
pub(crate) struct Mailer(Arc<Parts>);

struct Parts {
    from: Mailbox,
    route: Route,
    clock: Clock,
    background: Background,
    /// So many mails are handed over at once.
    lines: Semaphore,
}

impl Mailer {
    pub(crate) fn new(from: Mailbox, route: Route, clock: Clock, background: Background) -> Self {
        Self(Arc::new(Parts {
            from,
            route,
            clock,
            background,
            lines: Semaphore::new(LINES),
        }))
    }

    /// Sends a mail in the background. One that cannot be sent is logged, without its text.
    pub(crate) fn post(&self, mail: Mail) {
        let mailer = self.clone();
        let sent = self
            .0
            .background
            .spawn(async move { mailer.deliver(&mail).await });
        if let Err(cause) = sent {
            error!(%cause, "a mail was not sent");
        }
    }

    /// Sends a mail, for those who are in the background already.
    pub(crate) async fn deliver(&self, mail: &Mail) {
        let message = match self.write(mail) {
            Ok(message) => message,
            Err(cause) => return error!(%cause, "a mail could not be written"),
        };
        let mut pauses = PAUSES.into_iter();
        while let Err(cause) = self.hand_over(&message).await {
            if cause.is_final() {
                return error!(%cause, "a mail was refused");
            }
            let Some(pause) = pauses.next() else {
                return error!(%cause, "a mail was given up");
            };
            warn!(%cause, "a mail could not be sent yet");
            tokio::time::sleep(pause).await;
        }
    }

    /// A mail that waits for another try leaves the line to others.
    async fn hand_over(&self, message: &Message) -> Result<(), MailError> {
        let _line = self.0.lines.acquire().await;
        self.0.route.hand_over(message).await
    }

    pub(super) fn write(&self, mail: &Mail) -> Result<Message, MailError> {
        let to: Address = mail.to.text().parse()?;
        let date = Duration::from_millis(self.0.clock.now().milliseconds());
        let id = format!("<{}@{}>", Uuid::new_v4(), self.0.from.email.domain());
        let message = Message::builder()
            .from(self.0.from.clone())
            .to(Mailbox::new(None, to))
            .date(UNIX_EPOCH + date)
            .message_id(Some(id))
            .subject(mail.subject.as_str())
            .singlepart(part(&mail.text))?;
        Ok(message)
    }

    /// The mails that went out, oldest first.
    #[cfg(test)]
    pub(crate) async fn taken(&self) -> Vec<String> {
        self.0.background.finish(Duration::from_secs(10)).await;
        self.0.route.taken()
    }
}

/// Text that RFC 5322 §2.1.1 takes as it is is not encoded, so that a link in the outbox can be
/// read and copied.
fn part(text: &str) -> SinglePart {
    let plain = |line: &str| line.len() <= 998 && line.bytes().all(|b| (32..127).contains(&b));
    if !text.lines().all(plain) {
        return SinglePart::plain(text.to_owned());
    }
    let lines: Vec<u8> = text
        .lines()
        .flat_map(|line| line.bytes().chain(*b"\r\n"))
        .collect();
    let body = Body::dangerous_pre_encoded(lines, ContentTransferEncoding::SevenBit);
    SinglePart::builder()
        .content_type(ContentType::TEXT_PLAIN)
        .body(body)
}

const LINES: usize = 4;
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
];
