//! Password hashing in a pool of its own, so that nothing else ever waits behind it.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use keyferry_protocol::memory;
use tokio::sync::oneshot;
use tracing::Instrument;
use zeroize::Zeroizing;

use super::password::{NewPassword, is_hashable};
use crate::traces;

/// Hashes and checks passwords with bcrypt. Clones share the pool.
#[derive(Clone)]
pub(crate) struct PasswordHasher {
    queue: SyncSender<Job>,
    /// How many jobs are in the queue, and how many may be.
    waiting: Arc<AtomicUsize>,
    room: usize,
    cost: u32,
    /// A valid hash of the same cost that no password has, checked when there is no user.
    dummy: Arc<str>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    /// The queue is full.
    #[error("too many passwords wait to be hashed")]
    Full,
    /// bcrypt failed, or a worker is gone.
    #[error("hashing failed")]
    Failed(#[source] Option<bcrypt::BcryptError>),
}

enum Job {
    Hash(
        Zeroizing<String>,
        u32,
        oneshot::Sender<bcrypt::BcryptResult<String>>,
    ),
    Check(
        Zeroizing<String>,
        Arc<str>,
        oneshot::Sender<bcrypt::BcryptResult<bool>>,
    ),
}

impl PasswordHasher {
    /// Starts one worker a core.
    pub(crate) fn start(cost: u32) -> Result<Self, HashError> {
        let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let room = workers * QUEUE_PER_WORKER;
        let (queue, jobs) = sync_channel(room);
        let waiting = Arc::new(AtomicUsize::new(0));
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..workers {
            let (jobs, waiting) = (Arc::clone(&jobs), Arc::clone(&waiting));
            thread::Builder::new()
                .name(format!("bcrypt-{number}"))
                .spawn(move || work(&jobs, &waiting))
                .map_err(|_| HashError::Failed(None))?;
        }
        // The hashed text holds a NUL, which no password does.
        let dummy = bcrypt::non_truncating_hash("no\0password", cost);
        let dummy = dummy
            .map_err(|cause| HashError::Failed(Some(cause)))?
            .into();
        Ok(Self {
            queue,
            waiting,
            room,
            cost,
            dummy,
        })
    }

    /// The hash to store for a new password.
    pub(crate) async fn hash(&self, password: NewPassword) -> Result<String, HashError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Hash(password.into_text(), self.cost, answer))?;
        finish(answered).await
    }

    /// Hashes again a password that was just checked, when its hash is cheaper than today's.
    pub(crate) async fn rehash(
        &self,
        text: &str,
        stored: &str,
    ) -> Result<Option<String>, HashError> {
        if cost_of(stored).is_some_and(|cost| cost >= self.cost) {
            return Ok(None);
        }
        let (answer, answered) = oneshot::channel();
        self.send(Job::Hash(
            Zeroizing::new(text.to_owned()),
            self.cost,
            answer,
        ))?;
        finish(answered).await.map(Some)
    }

    /// Whether `text` is the password of `stored`. Without a stored hash, or with a broken one,
    /// it takes the same time to say no.
    pub(crate) async fn check(&self, text: &str, stored: Option<&str>) -> Result<bool, HashError> {
        if !is_hashable(text) {
            return Ok(false);
        }
        let costs = |stored: &&str| cost_of(stored).is_some_and(|cost| COSTS.contains(&cost));
        let usable = stored.filter(costs);
        let against = usable.map_or_else(|| Arc::clone(&self.dummy), Arc::from);
        let (answer, answered) = oneshot::channel();
        self.send(Job::Check(Zeroizing::new(text.to_owned()), against, answer))?;
        Ok(finish(answered).await? && usable.is_some())
    }

    fn send(&self, job: Job) -> Result<(), HashError> {
        // Counted before it can be taken out, so that the count never goes below nothing.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(job).map_err(|refused| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match refused {
                TrySendError::Full(_) => HashError::Full,
                TrySendError::Disconnected(_) => HashError::Failed(None),
            }
        })
    }

    /// How many passwords wait, and how many may.
    pub(crate) fn queue(&self) -> (u64, u64) {
        let waiting = self.waiting.load(Ordering::Relaxed);
        (waiting as u64, self.room as u64)
    }
}

async fn finish<T>(answered: oneshot::Receiver<bcrypt::BcryptResult<T>>) -> Result<T, HashError> {
    let answered = answered.instrument(traces::hashing());
    let result = answered.await.map_err(|_| HashError::Failed(None))?;
    result.map_err(|cause| HashError::Failed(Some(cause)))
}

fn work(jobs: &Mutex<Receiver<Job>>, waiting: &AtomicUsize) {
    // On Linux this is the thread's own priority: delivery and token checks go first.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        if job.is_ok() {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
        match job {
            Ok(Job::Hash(text, cost, answer)) => {
                let _ = answer.send(bcrypt::non_truncating_hash(text.as_bytes(), cost));
            }
            Ok(Job::Check(text, stored, answer)) => {
                let _ = answer.send(bcrypt::non_truncating_verify(text.as_bytes(), &stored));
            }
            Err(_) => return,
        }
        memory::scrub();
    }
}

fn cost_of(stored: &str) -> Option<u32> {
    stored
        .parse::<bcrypt::HashParts>()
        .ok()
        .map(|parts| parts.get_cost())
}

const QUEUE_PER_WORKER: usize = 64;
/// Those that bcrypt knows; with another one it fails instead of saying no.
const COSTS: RangeInclusive<u32> = 4..=31;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{HashError, Job, NewPassword, PasswordHasher, cost_of};
    use crate::config::Config;

    fn password(text: &str) -> NewPassword {
        NewPassword::parse(text, &[], &Config::for_tests().passwords)
            .ok()
            .unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_passes() {
        let hasher = PasswordHasher::start(10).unwrap();
        let hash = hasher.hash(password("SecurePass123")).await.unwrap();
        assert!(hasher.check("SecurePass123", Some(&hash)).await.unwrap());
        assert!(!hasher.check("SecurePass124", Some(&hash)).await.unwrap());
        assert!(!hasher.check("SecurePass123\0x", Some(&hash)).await.unwrap());
    }

    #[tokio::test]
    async fn hashes_of_other_systems_are_accepted_and_renewed() {
        let hasher = PasswordHasher::start(10).unwrap();
        let parts = bcrypt::hash_with_salt("SecurePass123", 4, [7; 16]).unwrap();
        for version in [
            bcrypt::Version::TwoA,
            bcrypt::Version::TwoB,
            bcrypt::Version::TwoY,
        ] {
            let old = parts.format_for_version(version);
            assert!(hasher.check("SecurePass123", Some(&old)).await.unwrap());
            let new = hasher.rehash("SecurePass123", &old).await.unwrap().unwrap();
            assert!(new.starts_with("$2b$10$"));
            assert!(
                hasher
                    .rehash("SecurePass123", &new)
                    .await
                    .unwrap()
                    .is_none()
            );
        }
    }

    #[tokio::test]
    async fn an_unknown_user_and_a_broken_hash_cost_a_whole_hash_and_never_match() {
        let (queue, jobs) = std::sync::mpsc::sync_channel(1);
        let dummy = PasswordHasher::start(10).unwrap().dummy;
        let hasher = PasswordHasher {
            queue,
            waiting: Arc::default(),
            room: 1,
            cost: 10,
            dummy,
        };
        let parts = bcrypt::hash_with_salt("WrongPass123", 4, [7; 16]).unwrap();
        let too_cheap = parts.format_for_version(bcrypt::Version::TwoB);
        let too_cheap = too_cheap.replace("$04$", "$03$");
        for stored in [None, Some(""), Some("$2b$10$broken"), Some(&too_cheap)] {
            let work = async {
                let Ok(Job::Check(_text, against, answer)) = jobs.try_recv() else {
                    panic!("nothing to check for {stored:?}")
                };
                assert_eq!(cost_of(&against), Some(10), "{stored:?}");
                answer.send(Ok(true)).unwrap();
            };
            let (checked, ()) = tokio::join!(hasher.check("WrongPass123", stored), work);
            assert!(!checked.unwrap(), "{stored:?}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_is_told_at_once() {
        let (queue, _nobody_works) = std::sync::mpsc::sync_channel(1);
        let hasher = PasswordHasher {
            queue,
            waiting: Arc::default(),
            room: 1,
            cost: 10,
            dummy: "".into(),
        };
        let waiting = hasher.check("SecurePass123", None);
        assert!(tokio::time::timeout(Duration::ZERO, waiting).await.is_err());
        assert!(matches!(
            hasher.check("SecurePass123", None).await,
            Err(HashError::Full)
        ));
    }
}
