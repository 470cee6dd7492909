//! Work that goes on after the answer: bounded in number, and waited for when the server stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

/// Runs work that nobody waits for. Clones share the bound.
#[derive(Clone)]
pub(crate) struct Background(Arc<Semaphore>);

/// So much work is under way that no more is taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much work is under way in the background")]
pub(crate) struct BackgroundFull;

impl Background {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BOUND)))
    }

    /// Starts the work, unless too much of it is under way.
    pub(crate) fn spawn(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), BackgroundFull> {
        let place = Arc::clone(&self.0).try_acquire_owned();
        let place = place.map_err(|_| BackgroundFull)?;
        tokio::spawn(async move {
            work.await;
            drop(place);
        });
        Ok(())
    }

    /// Waits until all work is done, but not for ever.
    pub(crate) async fn finish(&self, patience: Duration) {
        let everything = u32::try_from(BOUND).expect("the bound is a small number");
        if timeout(patience, self.0.acquire_many(everything))
            .await
            .is_err()
        {
            warn!("work in the background was given up");
        }
    }
}

const BOUND: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::{BOUND, Background, BackgroundFull};

    #[tokio::test]
    async fn beyond_the_bound_no_work_is_taken() {
        let background = Background::new();
        let mut gates = Vec::new();
        for _ in 0..BOUND {
            let (gate, opened) = oneshot::channel::<()>();
            let work = async move { drop(opened.await) };
            background.spawn(work).unwrap();
            gates.push(gate);
        }
        assert_eq!(background.spawn(async {}), Err(BackgroundFull));
        drop(gates);
        background.finish(Duration::from_secs(10)).await;
        background.spawn(async {}).unwrap();
    }
}
