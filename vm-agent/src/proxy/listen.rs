//! Listening on 127.0.0.1, and who is served at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::Outward;
use super::caller::user_of;
use super::exchange::Line;
use super::refusal::Refused;
use crate::agent::Agent;
use crate::places::{Place, Places};

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

/// Serves whoever connects, as far as there are places.
pub async fn listen(agent: Arc<Agent>, outward: Outward, bound: Bound) -> io::Result<()> {
    let us = SocketAddrV4::new(Ipv4Addr::LOCALHOST, bound.port);
    let listener = tokio::net::TcpListener::from_std(bound.listener)?;
    let outward = Arc::new(outward);
    let doors = Doors {
        tools: Places::new(agent.limits().proxy_connections.get()),
        strangers: Places::of_strangers(),
        way_out: Places::of_strangers(),
    };
    loop {
        match listener.accept().await {
            Ok((stream, SocketAddr::V4(tool))) => {
                let user = user_of(tool, us).ok();
                let Some((place, admission)) = doors.admit(&agent, user) else {
                    continue;
                };
                let (agent, outward) = (Arc::clone(&agent), Arc::clone(&outward));
                tokio::spawn(async move {
                    let line = Line::new(&agent, &outward, stream);
                    let served = match admission {
                        Admission::Served => line.serve(user).await,
                        Admission::TurnedAway => line.refuse(Refused::TooMany).await,
                    };
                    if let Err(error) = served {
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

struct Doors {
    tools: Places,
    strangers: Places,
    /// For those who are only told that there is no place.
    way_out: Places,
}

enum Admission {
    Served,
    TurnedAway,
}

impl Doors {
    /// A user without a token is a stranger, whatever the connection is going to say. `None` when
    /// there is not even room to be told why.
    fn admit(&self, agent: &Agent, user: Option<u32>) -> Option<(Place, Admission)> {
        let uid = user.unwrap_or(NOBODY);
        let inside = if user.is_some_and(|uid| agent.has_lent_to(uid)) {
            &self.tools
        } else {
            &self.strangers
        };
        match inside.take(uid) {
            Some(place) => Some((place, Admission::Served)),
            None => Some((self.way_out.take(uid)?, Admission::TurnedAway)),
        }
    }
}

const PAUSE: Duration = Duration::from_millis(100);
/// The kernel gives this number to no user.
const NOBODY: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use keyferry_protocol::memory::{Arena, self_test};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    use super::*;
    use crate::agent::Parts;
    use crate::config::{Limits, PolicyConfig, ProxyConfig};
    use crate::keyring::{Keyring, PageLimit};
    use crate::socket::Policy;
    use keyferry_sdk::lease::{Machine, SystemClock};

    /// The port of a proxy that has lent nothing to anybody.
    fn start() -> u16 {
        let arena = Arena::new(self_test().unwrap()).unwrap();
        let outward = Outward::new(&ProxyConfig::default(), arena.clone()).unwrap();
        let bound = bind(0).unwrap();
        let port = bound.port;
        let parts = Parts {
            policy: Policy::new(PolicyConfig::default(), 0, 0),
            limits: Limits::default(),
            steps: Vec::new(),
            proxy_port: port,
            programs: None,
            clock: Box::new(SystemClock::new(Machine::open())),
        };
        let agent = Agent::new(Keyring::new(arena, PageLimit(1)), parts);
        tokio::spawn(listen(Arc::new(agent), outward, bound));
        port
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_ended_after_ten_seconds() {
        let port = start();
        let begin = tokio::time::Instant::now();
        let mut silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(begin.elapsed().as_secs(), 10);
    }

    #[tokio::test]
    async fn a_user_without_a_token_has_few_places() {
        let port = start();
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        }
        let mut turned_away = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut told = String::new();
        turned_away.read_to_string(&mut told).await.unwrap();
        assert!(
            told.contains("Keyferry-Error: too_many_connections"),
            "{told}"
        );
    }
}
