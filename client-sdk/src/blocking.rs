//! The same client without `async`.
//!
//! One thread of its own listens to the agent. Do not call from inside an async runtime.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use hyper::header::HeaderValue;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::link::Endpoint;
use crate::status::Status;
use crate::{Change, ClientCertificate, DEFAULT_SOCKET, Error, KeyHandle, Login, Proxied};

/// A connection to the agent of this machine.
#[derive(Clone)]
pub struct Client {
    client: crate::Client,
    listener: Arc<Listener>,
}

impl Client {
    /// Connects to the agent at [`DEFAULT_SOCKET`].
    pub fn connect() -> Result<Self, Error> {
        Self::connect_to(DEFAULT_SOCKET)
    }

    /// Connects to the agent at another socket.
    pub fn connect_to(path: impl AsRef<Path>) -> Result<Self, Error> {
        let listener = Arc::new(Listener::start().map_err(Error::Socket)?);
        let client = listener.handle.block_on(crate::Client::connect_to(path))?;
        Ok(Self { client, listener })
    }

    /// As [`crate::Client::direct`].
    pub fn direct(ticket: &[u8]) -> Result<Self, Error> {
        let listener = Arc::new(Listener::start().map_err(Error::Socket)?);
        let client = listener.handle.block_on(crate::Client::direct(ticket))?;
        Ok(Self { client, listener })
    }

    /// As [`crate::Client::direct_with_certificate`].
    pub fn direct_with_certificate(
        ticket: &[u8],
        shown: &ClientCertificate,
    ) -> Result<Self, Error> {
        let listener = Arc::new(Listener::start().map_err(Error::Socket)?);
        let enrolled = crate::Client::direct_with_certificate(ticket, shown);
        let client = listener.handle.block_on(enrolled)?;
        Ok(Self { client, listener })
    }

    /// As [`crate::Client::direct_as`].
    pub fn direct_as(server: &Endpoint, login: &Login<'_>, vm: &str) -> Result<Self, Error> {
        let listener = Arc::new(Listener::start().map_err(Error::Socket)?);
        let direct = crate::Client::direct_as(server, login, vm);
        let client = listener.handle.block_on(direct)?;
        Ok(Self { client, listener })
    }

    /// Opens a key.
    pub fn key(&self, name: &str) -> Result<Key, Error> {
        let handle = self.listener.handle.block_on(self.client.key(name))?;
        Ok(Key {
            handle,
            listener: Arc::clone(&self.listener),
        })
    }

    /// As [`crate::Client::proxied`].
    pub fn proxied(&self, name: &str) -> Result<Proxied, Error> {
        self.listener.handle.block_on(self.client.proxied(name))
    }

    /// How the agent is.
    pub fn status(&self) -> Result<Status, Error> {
        self.listener.handle.block_on(self.client.status())
    }
}

/// An open key.
pub struct Key {
    handle: KeyHandle,
    listener: Arc<Listener>,
}

impl Key {
    /// As [`KeyHandle::expose`].
    pub fn expose<T>(&self, read: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
        self.handle.expose(read)
    }

    /// As [`KeyHandle::expose_version`].
    pub fn expose_version<T>(&self, read: impl FnOnce(u32, &[u8]) -> T) -> Result<T, Error> {
        self.handle.expose_version(read)
    }

    /// As [`KeyHandle::bearer`].
    pub fn bearer(&self) -> Result<HeaderValue, Error> {
        self.handle.bearer()
    }

    /// As [`KeyHandle::now`].
    pub fn now(&self) -> Result<Change, Error> {
        self.handle.now()
    }

    /// Tells of each change from here on; ends with the agent.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        let mut watch = self.handle.watch();
        let listener = Arc::clone(&self.listener);
        std::iter::from_fn(move || listener.handle.block_on(watch.changed()).ok())
    }
}

/// The thread that listens, until the last clone is dropped.
struct Listener {
    handle: Handle,
    _stop_on_drop: oneshot::Sender<()>,
}

impl Listener {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new()
            .name("keyferry".to_owned())
            .spawn(move || {
                let _stopped = runtime.block_on(stopped);
            })?;
        Ok(Self {
            handle,
            _stop_on_drop: stop,
        })
    }
}
