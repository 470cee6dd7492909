//! The look at the clocks and the host that happens whether there is a session or not.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::{MissedTickBehavior, interval};

use crate::agent::Agent;
use crate::sys;

/// Every second, and as soon as the kernel has `news`. As long as this goes on, systemd is told
/// that the agent is alive.
pub async fn keep_lease(agent: Arc<Agent>, news: Option<OwnedFd>) {
    // Where the kernel has no news to tell, the clocks have to do.
    let news = news.and_then(|news| sys::watched(news).ok());
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = second.tick() => {
                let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            }
            _ = heard(news.as_ref()) => {}
        }
        agent.enforce_lease();
    }
}

/// The news itself is read by the look at the host.
async fn heard(news: Option<&AsyncFd<OwnedFd>>) -> io::Result<()> {
    match news {
        Some(news) => {
            let mut ready = news.readable().await?;
            ready.clear_ready();
            Ok(())
        }
        None => std::future::pending().await,
    }
}
