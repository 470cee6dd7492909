//! An open key: a page shared with the agent, and locked room to read it into.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, Stream};
use hyper::header::HeaderValue;
use keyferry_protocol::ids::KeyName;
use keyferry_protocol::memory::{Arena, MappedPage, MemoryError, PageState, ValueBuffer};
use secrecy::SecretSlice;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::Error;
use crate::client::Connection;

/// An open key. It stays current until it is revoked, its lease ends, or the agent does.
pub struct KeyHandle {
    name: KeyName,
    held: Arc<Held>,
    changes: watch::Receiver<Change>,
    connection: Arc<Connection>,
}

/// What a key's page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The newest version that was in it.
    pub version: u32,
    /// Whether it still is.
    pub state: PageState,
}

impl KeyHandle {
    pub(crate) fn new(
        name: KeyName,
        held: Arc<Held>,
        changes: watch::Receiver<Change>,
        connection: Arc<Connection>,
    ) -> Self {
        Self {
            name,
            held,
            changes,
            connection,
        }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Lends the current value to `read`, then wipes the copy. No system call is made.
    ///
    /// What `read` makes of the bytes is its own affair: a `String` or a header made from them
    /// outlives this call in ordinary memory. Readers do not wait for each other, and one may read
    /// again from within.
    pub fn expose<T>(&self, read: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
        self.expose_version(|_version, bytes| read(bytes))
    }

    /// [`expose`](Self::expose), and tells the version that was read.
    pub fn expose_version<T>(&self, read: impl FnOnce(u32, &[u8]) -> T) -> Result<T, Error> {
        let page = self.held.page().ok_or(Error::AgentGone)?;
        let mut copy = Lent(ValueBuffer::new(&self.held.arena)?);
        let version = page.read(&mut copy.0).map_err(Error::of_reading)?;
        Ok(read(version, copy.0.expose()))
    }

    /// A copy in ordinary memory, wiped when it is dropped: for libraries that want one.
    ///
    /// It is neither locked nor current, and a core dump or swap may keep it.
    /// [`expose`](Self::expose) is better wherever it can be used.
    pub fn to_secret(&self) -> Result<SecretSlice<u8>, Error> {
        self.expose(|bytes| SecretSlice::from(bytes.to_vec()))
    }

    /// `Authorization: Bearer KEY` for hyper, reqwest and all that speak `http`, marked sensitive.
    ///
    /// The copy is in ordinary memory and cannot be wiped by us: it goes when the client's
    /// connection does. Make one for each request, so that a rotated key is used at once, or send
    /// through the agent's proxy ([`Client::proxied`](crate::Client::proxied)), which needs none.
    pub fn bearer(&self) -> Result<HeaderValue, Error> {
        self.header("Bearer ")
    }

    /// The same behind another word, or none: `x-api-key: KEY` has the empty one.
    pub fn header(&self, prefix: &str) -> Result<HeaderValue, Error> {
        let header = self.expose(|key| {
            let value = Zeroizing::new([prefix.as_bytes(), key].concat());
            HeaderValue::from_bytes(&value)
        })?;
        let mut header = header.map_err(|_| Error::NotAHeader)?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// What the page holds now. No system call is made.
    pub fn now(&self) -> Result<Change, Error> {
        self.held
            .page()
            .map(|page| look(&page))
            .ok_or(Error::AgentGone)
    }

    /// Tells of rotation, revocation and the end of the lease.
    pub fn watch(&self) -> Watch {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        Watch {
            changes,
            _alive: Arc::clone(&self.connection),
        }
    }
}

impl fmt::Debug for KeyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHandle")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Follows one key.
pub struct Watch {
    changes: watch::Receiver<Change>,
    _alive: Arc<Connection>,
}

impl Watch {
    /// Waits for the next change. Changes that come faster than they are waited for are told as
    /// one: the latest.
    pub async fn changed(&mut self) -> Result<Change, Error> {
        self.changes.changed().await.map_err(|_| Error::AgentGone)?;
        Ok(*self.changes.borrow_and_update())
    }

    /// The changes as a stream, which ends with the agent.
    pub fn into_stream(self) -> impl Stream<Item = Change> {
        stream::unfold(self, |mut watch| async move {
            watch.changed().await.ok().map(|change| (change, watch))
        })
    }
}

/// The page, until the connection's task takes it away when the agent ends, and locked room to read
/// it into.
pub(crate) struct Held {
    page: Mutex<Option<Arc<MappedPage>>>,
    arena: Arena,
}

impl Held {
    pub(crate) fn new(page: MappedPage, arena: &Arena) -> Result<Self, MemoryError> {
        // There is room for a reader from now on.
        drop(ValueBuffer::new(arena)?);
        Ok(Self {
            page: Mutex::new(Some(Arc::new(page))),
            arena: arena.clone(),
        })
    }

    pub(crate) fn now(&self) -> Change {
        let gone = Change {
            version: 0,
            state: PageState::Empty,
        };
        self.page().map_or(gone, |page| look(&page))
    }

    /// Unmaps the page, as soon as nobody reads it: the kernel zeroes it when its last holder has.
    pub(crate) fn let_go(&self) {
        *self.lock() = None;
    }

    fn page(&self) -> Option<Arc<MappedPage>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<MappedPage>>> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(page: &MappedPage) -> Change {
    let (state, version) = page.state();
    Change { version, state }
}

/// A copy that is wiped when its reader returns or panics.
struct Lent(ValueBuffer);

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.wipe();
    }
}
