//! What becomes of a connection to PostgreSQL whose caller has gone in the middle of something.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool, PgTransaction};
use tokio::time::timeout;

/// Begins a transaction. Who is gone before the answer leaves one that is rolled back: sqlx counts it
/// only from the answer on, and would otherwise give the open block to the next caller.
pub(super) async fn begin(pool: PgPool) -> Result<PgTransaction<'static>, sqlx::Error> {
    let begun = tokio::spawn(async move { pool.begin().await }).await;
    begun.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Whether a connection that comes back to the pool still answers. Of itself the pool waits for that
/// without a bound, and the connections to a database that is gone without a word would be missed
/// until TCP gives up.
pub(super) async fn still_answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match timeout(PATIENCE, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => Err(sqlx::Error::Io(ErrorKind::TimedOut.into())),
    }
}

const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{Semaphore, mpsc};

    use super::*;
    use crate::store::{Store, StoreError};

    /// So much of a PostgreSQL as a transaction takes. It answers a statement for each permit.
    struct Fake {
        port: u16,
        heard: mpsc::UnboundedReceiver<String>,
        permits: Arc<Semaphore>,
        /// New connections are answered, those that are there are not.
        silent: Arc<AtomicBool>,
    }

    impl Fake {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let (tell, heard) = mpsc::unbounded_channel();
            let permits = Arc::new(Semaphore::new(0));
            let silent = Arc::<AtomicBool>::default();
            let shared = (Arc::clone(&permits), Arc::clone(&silent));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // Silence is for those who are there already.
                    shared.1.store(false, Ordering::SeqCst);
                    tokio::spawn(serve(stream, tell.clone(), shared.clone()));
                }
            });
            Self {
                port,
                heard,
                permits,
                silent,
            }
        }

        async fn store(&self) -> Store {
            let url = format!("postgres://x@127.0.0.1:{}/x?sslmode=disable", self.port);
            Store::connect_unasked(&url.into(), 1).await.unwrap()
        }
    }

    type Shared = (Arc<Semaphore>, Arc<AtomicBool>);

    async fn serve(
        mut stream: TcpStream,
        tell: mpsc::UnboundedSender<String>,
        (permits, silent): Shared,
    ) -> Option<()> {
        let length = stream.read_u32().await.ok()?;
        let mut start = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut start).await.ok()?;
        stream.write_all(b"R\0\0\0\x08\0\0\0\0").await.ok()?;
        let mut status = b'I';
        loop {
            let ready = [b'Z', 0, 0, 0, 5, status];
            stream.write_all(&ready).await.ok()?;
            let kind = stream.read_u8().await.ok()?;
            let length = stream.read_u32().await.ok()?;
            let mut text = vec![0; usize::try_from(length).unwrap() - 4];
            stream.read_exact(&mut text).await.ok()?;
            if kind == b'Q' {
                let said = String::from_utf8(text).unwrap();
                let said = said.trim_end_matches('\0');
                status = if said == "BEGIN" { b'T' } else { b'I' };
                tell.send(said.to_owned()).ok()?;
                permits.acquire().await.ok()?.forget();
                stream.write_all(b"C\0\0\0\x07OK\0").await.ok()?;
            }
            if silent.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
        }
    }

    #[tokio::test]
    async fn a_transaction_whose_caller_has_gone_before_it_had_begun_is_rolled_back() {
        let mut fake = Fake::start().await;
        let store = fake.store().await;
        tokio::select! {
            _ = store.begin() => panic!("nobody has answered"),
            said = fake.heard.recv() => assert_eq!(said.unwrap(), "BEGIN"),
        }
        fake.permits.add_permits(2);
        let said = timeout(LONG, fake.heard.recv()).await;
        assert_eq!(said.unwrap().unwrap(), "ROLLBACK");
    }

    #[tokio::test]
    async fn a_connection_that_died_without_a_word_is_replaced() {
        let fake = Fake::start().await;
        let store = fake.store().await;
        fake.permits.add_permits(100);
        drop(store.begin().await.unwrap());
        fake.silent.store(true, Ordering::SeqCst);
        let hasty = store.with_longest(Duration::from_millis(50));
        let late = hasty.begin().await.err().unwrap();
        assert!(matches!(late, StoreError::Unreachable(_)), "{late:?}");
        assert!(store.begin().await.is_ok());
    }

    const LONG: Duration = Duration::from_secs(60);
}
