//! A wire between agent and server that can be cut: nothing gets through, and nobody is told. Or it
//! loses the end of what the server says, a little later on each connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

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
    losses: Arc<Losses>,
}

/// How much of an answer gets through, before its connection ends.
#[derive(Default)]
struct Losses {
    connections: AtomicUsize,
    step: AtomicUsize,
}

impl Losses {
    /// For the next connection.
    fn next(&self) -> usize {
        match self.step.load(Ordering::SeqCst) {
            0 => usize::MAX,
            step => step * (1 + self.connections.fetch_add(1, Ordering::SeqCst)),
        }
    }
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
        let losses = Arc::<Losses>::default();
        let ways = (Arc::clone(&leads_to), Arc::clone(&losses));
        tokio::spawn(listen(listener, ways, watched));
        Self {
            port,
            leads_to,
            whole,
            losses,
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

    /// From now on each connection ends when so many bytes more than on the one before have come
    /// from the server.
    pub fn lose_answers(&self, step: usize) {
        self.losses.step.store(step, Ordering::SeqCst);
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
    (leads_to, losses): (Arc<OnceLock<SocketAddr>>, Arc<Losses>),
    whole: watch::Receiver<bool>,
) {
    while let Ok((near, _)) = listener.accept().await {
        let Some(address) = leads_to.get().copied() else {
            continue;
        };
        let mut whole = whole.clone();
        let most = losses.next();
        tokio::spawn(async move {
            drop(whole.wait_for(|whole| *whole).await);
            // A server that is not there hangs up on the agent.
            let Ok(far) = TcpStream::connect(address).await else {
                return;
            };
            let (near_out, near_in) = near.into_split();
            let (far_out, far_in) = far.into_split();
            let upward = tokio::spawn(carry((near_out, far_in), usize::MAX, whole.clone()));
            carry((far_out, near_in), most, whole).await;
            if most < usize::MAX {
                upward.abort();
            }
        });
    }
}

async fn carry(
    (mut from, mut to): (OwnedReadHalf, OwnedWriteHalf),
    mut most: usize,
    mut whole: watch::Receiver<bool>,
) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        drop(whole.wait_for(|whole| *whole).await);
        let passing = count.min(most);
        if to.write_all(&piece[..passing]).await.is_err() || passing == most {
            return;
        }
        most -= passing;
    }
    drop(whole.wait_for(|whole| *whole).await);
    let _gone_already = to.shutdown().await;
}
