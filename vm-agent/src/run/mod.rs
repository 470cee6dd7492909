//! `keyferry-agent run`. The order of the steps is the security argument:
//!
//! 1. settings and log, while nothing is secret yet;
//! 2. no dumps, no new privileges, proven locked memory: then the ticket, straight into it;
//! 3. the socket and the proxy's port, while files may still be made; then no file, capability or foreign system call;
//! 4. only now the first word with anybody, tool or server.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use keyferry_agent::agent::{Agent, Parts};
use keyferry_agent::arguments::Run;
use keyferry_agent::causes::with_causes;
use keyferry_agent::config::{Config, PolicyConfig};
use keyferry_agent::harden::{self, Step, Tolerance};
use keyferry_agent::keyring::{Keyring, PageLimit};
use keyferry_agent::programs::Programs;
use keyferry_agent::proxy::{self, Outward};
use keyferry_agent::socket::{self, Policy};
use keyferry_agent::upstream::{self, Upstream};
use keyferry_protocol::memory::Arena;
use keyferry_sdk::lease::{Machine, SystemClock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing::{Level, error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::ticket_source::NoTicket;

mod enrol;

/// Runs until it is stopped.
pub(crate) fn run(options: &Run) -> ExitCode {
    log_to_stderr();
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(
                reason = with_causes(error.as_ref()),
                "the agent does not run"
            );
            exit_code(error.as_ref())
        }
    }
}

/// Trying again does not bring a ticket: a service manager is told so by `EX_CONFIG`.
fn exit_code(error: &(dyn Error + 'static)) -> ExitCode {
    match error.downcast_ref() {
        Some(NoTicket::NotGiven) => ExitCode::from(78),
        _ => ExitCode::FAILURE,
    }
}

fn start(options: &Run) -> Result<(), Box<dyn Error>> {
    let config = settings(options)?;
    let tolerance = tolerance(&config);

    if let Some(ticket) = options.ticket.ticket_fd {
        keyferry_agent::sys::keep_from_children(ticket);
    }
    let programs = programs(&config.policy)?;
    let (level, mut steps) = harden::before_secrets(tolerance)?;
    let machine = Machine::open();
    steps.push(harden::what_shows_a_restore(&machine.shows()));
    let arena = Arena::new(level)?;
    let upstream = enrol::upstream(arena.clone(), options, &config)?;
    let outward = Outward::new(&config.proxy, arena.clone())?;

    let group = config.socket_group.as_deref();
    let (listener, policy) = bind(&options.socket, group, config.policy)?;
    let bound = proxy::bind(config.proxy.port)?;
    steps.extend(harden::before_strangers(tolerance)?);
    report(&steps);

    let keys = Keyring::new(arena, PageLimit(config.limits.pages_per_connection.get()));
    let news = machine.news();
    let parts = Parts {
        policy,
        limits: config.limits,
        steps,
        proxy_port: bound.port,
        programs,
        clock: Box::new(SystemClock::new(machine)),
    };
    let doors = Doors {
        listener,
        path: &options.socket,
        proxy: (outward, bound),
        news,
    };
    on_one_thread(serve(Arc::new(Agent::new(keys, parts)), upstream, doors))?;
    Ok(())
}

fn tolerance(config: &Config) -> Tolerance {
    match config.allow_degraded {
        true => Tolerance::Degraded,
        false => Tolerance::Strict,
    }
}

/// Who tells programs apart, where anybody has to.
fn programs(policy: &PolicyConfig) -> Result<Option<Programs>, Box<dyn Error>> {
    Ok(match &policy.programs_socket {
        Some(socket) => Some(Programs::at(socket)),
        None if policy.tells_programs_apart() => Some(Programs::start("look-at-programs")?),
        None => None,
    })
}

/// The socket, and who may use it.
fn bind(
    path: &Path,
    group: Option<&str>,
    policy: PolicyConfig,
) -> Result<(UnixListener, Policy), Box<dyn Error>> {
    let (listener, gid) = socket::bind(path, group)?;
    let own_uid = rustix::process::geteuid().as_raw();
    let policy = Policy::new(policy, own_uid, gid);
    if policy.names_others() {
        socket::open_to_all(path)?;
    }
    Ok((listener, policy))
}

/// Secrets pass one stack and one set of registers, and the scrub reaches both.
fn on_one_thread(served: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(served)
}

/// Where tools, and news of the machine, come in.
struct Doors<'a> {
    listener: UnixListener,
    path: &'a Path,
    proxy: (Outward, proxy::Bound),
    news: Option<OwnedFd>,
}

/// Until SIGTERM or SIGINT; then everything is wiped and the server is told.
async fn serve(agent: Arc<Agent>, upstream: Upstream, doors: Doors<'_>) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(doors.listener)?;
    let (outward, bound) = doors.proxy;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = Notify::new();
    tokio::spawn(socket::listen(Arc::clone(&agent), listener));
    tokio::spawn(proxy::listen(Arc::clone(&agent), outward, bound));
    tokio::spawn(upstream::keep_lease(Arc::clone(&agent), doors.news));
    tell_ready(doors.path)?;

    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let session = upstream::keep(&agent, upstream, &stop, &mut rng);
    tokio::pin!(session);
    tokio::select! {
        () = &mut session => return Ok(()),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("stopping: all keys are wiped");
    let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    stop.notify_one();
    session.await;
    Ok(())
}

fn tell_ready(path: &Path) -> io::Result<()> {
    let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "keyferry-agent ready at {}", path.display())?;
    stdout.flush()
}

fn settings(options: &Run) -> Result<Config, Box<dyn Error>> {
    let mut config = options
        .config
        .as_deref()
        .map(Config::read)
        .transpose()?
        .unwrap_or_default();
    config.allow_degraded |= options.allow_degraded;
    if options.socket_group.is_some() {
        config.socket_group.clone_from(&options.socket_group);
    }
    if options.client_certificate.is_some() {
        config
            .client_certificate
            .clone_from(&options.client_certificate);
        config.client_key.clone_from(&options.client_key);
    }
    Ok(config)
}

fn report(steps: &[Step]) {
    for step in steps {
        if step.degraded {
            warn!(
                step = step.step,
                level = step.level,
                "hardening is degraded"
            );
        } else {
            info!(step = step.step, level = step.level, "hardened");
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::builder()
        .with_default_directive(Level::INFO.into())
        .with_env_var("KEYFERRY_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}
