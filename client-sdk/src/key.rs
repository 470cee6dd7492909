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
    /// outlives this call in ordinary memory. One reader at a time; others wait.
    pub fn expose<T>(&self, read: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
        self.expose_version(|_version, bytes| read(bytes))
    }

    /// [`expose`](Self::expose), and tells the version that was read.
    pub fn expose_version<T>(&self, read: impl FnOnce(u32, &[u8]) -> T) -> Result<T, Error> {
        let mut reading = self.held.lock();
        let Reading { page, copy } = &mut *reading;
        let page = page.as_ref().ok_or(Error::AgentGone)?;
        let copy = Lent(copy);
        let version = page.read(copy.0).map_err(Error::of_reading)?;
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
            .lock()
            .page
            .as_ref()
            .map(look)
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

/// The page and the room to read it into. The connection's task takes the page away when the
/// agent ends.
pub(crate) struct Held(Mutex<Reading>);

struct Reading {
    page: Option<MappedPage>,
    copy: ValueBuffer,
}

impl Held {
    pub(crate) fn new(page: MappedPage, arena: &Arena) -> Result<Self, MemoryError> {
        let copy = ValueBuffer::new(arena)?;
        Ok(Self(Mutex::new(Reading {
            page: Some(page),
            copy,
        })))
    }

    pub(crate) fn now(&self) -> Change {
        let gone = Change {
            version: 0,
            state: PageState::Empty,
        };
        self.lock().page.as_ref().map_or(gone, look)
    }

    /// Unmaps the page: the kernel zeroes it when its last holder has.
    pub(crate) fn let_go(&self) {
        self.lock().page = None;
    }

    /// A reader that panicked has wiped its copy all the same.
    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look(page: &MappedPage) -> Change {
    let (state, version) = page.state();
    Change { version, state }
}

/// A copy that is wiped when its reader returns or panics.
struct Lent<'a>(&'a mut ValueBuffer);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}
