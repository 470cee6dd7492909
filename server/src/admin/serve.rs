//! `keyferry-server serve`.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tracing::info;

use super::renew_certificate::renew_certificate;
use super::start::{Reachable, start};
use super::{Failure, log};
use crate::alerts::Webhook;
use crate::app::App;
use crate::config::{Config, Transport};
use crate::data_dir::DataDir;
use crate::http::{self, Identity, Listener};
use crate::stop::{self, Stopper};
use crate::vault::{master_key, server_keys};
use crate::{accounts, alerts, audit, backup, bus, delivery, sessions};

/// Serves until it is told to stop.
pub(super) async fn serve(config: Config) -> Result<(), Failure> {
    let traces = log::begin_with_traces(&config)?;
    let data_dir = DataDir::prepare(&config.data_dir)?;
    data_dir.clear_dead_drafts()?;
    let socket = listen(config.listen).await?;
    let metrics = match config.metrics.listen {
        Some(wanted) => Some(listen(wanted).await?),
        None => None,
    };
    let webhook = Webhook::new(&config.alerts)?;
    let listens = socket.local_addr()?;
    let url = url(config.transport, listens);
    let reachable = reachable(&config, &data_dir, listens)?;
    let (stopper, stop) = stop::channel();
    let (drain, farewell) = (config.connections.drain, config.connections.farewell);
    stop_on_signal(stopper.clone(), (drain, farewell))?;
    let app = start(config, &data_dir, reachable, stop).await?;
    if let Some(role) = app.store.own_role().await? {
        info!(%role, "who this server is for the database");
    }
    announce(&app, &url)?;
    let epoch = tokio::spawn(backup::follow_epoch(app.clone()));
    keep_house(&app, stopper);
    if let Some(webhook) = webhook {
        tokio::spawn(alerts::send(app.clone(), webhook));
    }
    if let Some(listener) = metrics {
        tokio::spawn(http::serve_metrics(app.clone(), listener));
    }
    let tls = app.identity.clone();
    http::serve(app.clone(), Listener { socket, tls }).await;
    app.background.finish(FAREWELL).await;
    epoch.await?;
    audit::keep_anchor(&app).await;
    app.store.close().await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    info!("the server has stopped");
    Ok(())
}

/// What goes on beside the answers, until the server stops.
fn keep_house(app: &App, stopper: Stopper) {
    tokio::spawn(bus::follow(app.clone()));
    if let Some(cache) = app.cache.clone() {
        tokio::spawn(bus::relay(app.clone(), cache));
    }
    tokio::spawn(delivery::sweep(app.clone()));
    tokio::spawn(sessions::sweep(app.clone()));
    tokio::spawn(master_key::follow(app.clone(), stopper));
    tokio::spawn(server_keys::follow(app.clone()));
    tokio::spawn(audit::sweep(app.clone()));
    tokio::spawn(accounts::fold_names(app.clone()));
    tokio::spawn(renew_certificate(app.clone()));
}

async fn listen(wanted: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(wanted).await;
    Ok(bound.map_err(|cause| format!("cannot listen on {wanted}: {cause}"))?)
}

/// Under which URLs agents reach a server with these settings, and which certificate they find.
pub(super) fn reachable(
    config: &Config,
    data_dir: &DataDir,
    listens: SocketAddr,
) -> Result<Reachable, Failure> {
    let identity = match config.transport {
        Transport::Plain => None,
        Transport::Tls => {
            let names = http::names(config.listen.ip(), &config.public_urls);
            Some(Identity::load_or_make(data_dir, &names, &config.tls)?)
        }
    };
    Ok(Reachable {
        public_urls: public_urls(config, listens),
        identity,
    })
}

/// The URLs that the operator names, else the one where it listens.
pub(super) fn public_urls(config: &Config, listens: SocketAddr) -> Vec<String> {
    match config.public_urls.as_slice() {
        [] => vec![url(config.transport, listens)],
        named => named.to_vec(),
    }
}

fn url(transport: Transport, listens: SocketAddr) -> String {
    match transport {
        Transport::Tls => format!("https://{listens}"),
        Transport::Plain => format!("http://{listens}"),
    }
}

/// One line for scripts, which then know the port and what to pin.
fn announce(app: &App, url: &str) -> std::io::Result<()> {
    let identity = app.identity.as_ref();
    let fingerprint = identity.map_or_else(|| "-".to_owned(), Identity::fingerprint);
    info!(%url, %fingerprint, protection = %app.arena.level(), "the server listens");
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready {url} {fingerprint}")?;
    stdout.flush()?;
    let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    Ok(())
}

/// The first signal asks everyone to go to another server, for a while; the second ends that.
pub(super) fn stop_on_signal(
    stopper: Stopper,
    (drain, farewell): (Duration, Duration),
) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut signalled = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::spawn(async move {
        signalled().await;
        info!(seconds = drain.as_secs(), "the server drains");
        tell_systemd_to_wait(drain + farewell + FAREWELL);
        stopper.drain();
        let _again_or_late = timeout(drain, signalled()).await;
        info!("the server stops");
        stopper.stop();
    });
    Ok(())
}

/// The settings may ask for longer than the unit's `TimeoutStopSec`.
fn tell_systemd_to_wait(longest: Duration) {
    let microseconds = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
    let _no_systemd = sd_notify::notify(&[
        sd_notify::NotifyState::Stopping,
        sd_notify::NotifyState::ExtendTimeoutUsec(microseconds),
    ]);
}

/// How long mails under way may take when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);
