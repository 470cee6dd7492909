//! Listening on 127.0.0.1, and the bound on how many connections are served at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::Outward;
use super::exchange::Line;
use crate::agent::Agent;

/// The proxy's own address.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

/// Takes a port of 127.0.0.1; 0 for any that is free.
pub fn bind(port: u16) -> io::Result<Bound> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    Ok(Bound { listener, port })
}

/// Serves whoever connects, up to the bound; the rest wait in the kernel's queue.
pub async fn listen(agent: Arc<Agent>, outward: Outward, bound: Bound) -> io::Result<()> {
    let us = SocketAddrV4::new(Ipv4Addr::LOCALHOST, bound.port);
    let listener = tokio::net::TcpListener::from_std(bound.listener)?;
    let outward = Arc::new(outward);
    let places = Arc::new(Semaphore::new(agent.limits().proxy_connections));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("never closed");
        match listener.accept().await {
            Ok((stream, SocketAddr::V4(tool))) => {
                let (agent, outward) = (Arc::clone(&agent), Arc::clone(&outward));
                tokio::spawn(async move {
                    let line = Line::new(&agent, &outward, stream);
                    if let Err(error) = line.serve((tool, us)).await {
                        debug!(%error, "a connection to the proxy ended");
                    }
                    drop(place);
                });
            }
            Ok((_, SocketAddr::V6(_))) => {}
            Err(error) => {
                warn!(%error, "a connection to the proxy cannot be served");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

const PAUSE: Duration = Duration::from_millis(100);
