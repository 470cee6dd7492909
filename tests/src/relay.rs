//! A wire between agent and server that can be cut: nothing gets through, and nobody is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Server;

/// A port of this machine that leads to a server.
pub struct Relay {
    port: u16,
    leads_to: Arc<OnceLock<SocketAddr>>,
    whole: watch::Sender<bool>,
}

impl Relay {
    /// Leads nowhere yet.
    pub fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let leads_to = Arc::new(OnceLock::new());
        let (whole, watched) = watch::channel(true);
        let listener = TcpListener::from_std(listener).unwrap();
        tokio::spawn(listen(listener, Arc::clone(&leads_to), watched));
        Self {
            port,
            leads_to,
            whole,
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connects it to a server.
    pub fn lead_to(&self, server: &Server) {
        let address = server.url().trim_start_matches("https://");
        self.leads_to.set(address.parse().unwrap()).unwrap();
    }

    /// From now on nothing gets through.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// What has waited gets through.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Default for Relay {
    fn default() -> Self {
        Self::new()
    }
}

async fn listen(
    listener: TcpListener,
    leads_to: Arc<OnceLock<SocketAddr>>,
    whole: watch::Receiver<bool>,
) {
    while let Ok((near, _)) = listener.accept().await {
        let Some(address) = leads_to.get().copied() else {
            continue;
        };
        let mut whole = whole.clone();
        tokio::spawn(async move {
            drop(whole.wait_for(|whole| *whole).await);
            // A server that is not there hangs up on the agent.
            let Ok(far) = TcpStream::connect(address).await else {
                return;
            };
            let (near_out, near_in) = near.into_split();
            let (far_out, far_in) = far.into_split();
            tokio::spawn(carry(near_out, far_in, whole.clone()));
            carry(far_out, near_in, whole).await;
        });
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut whole: watch::Receiver<bool>) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        drop(whole.wait_for(|whole| *whole).await);
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
    drop(whole.wait_for(|whole| *whole).await);
    let _gone_already = to.shutdown().await;
}
