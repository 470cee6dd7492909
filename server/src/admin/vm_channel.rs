//! `keyferry-server vm channel`.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tracing::{debug, info, warn};

use super::serve::{reachable, stop_on_signal};
use super::start::{refuse_unused, start};
use super::{Failure, log};
use crate::app::App;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::delivery::host_channel::{Place, WiredVm, converse};
use crate::stop;
use crate::vault::{master_key, server_keys};

/// Answers the VM until told to stop. Runs beside the server, on the same database.
pub(super) async fn answer(config: Config, vm: &str, socket: &Path) -> Result<(), Failure> {
    let traces = log::begin_with_traces(&config)?;
    refuse_unused(&config).await?;
    let data_dir = DataDir::prepare(&config.data_dir)?;
    let reachable = reachable(&config, &data_dir, config.listen)?;
    if config.public_urls.is_empty() {
        warn!(
            url = %reachable.public_urls.join(","),
            "tickets lead machines to where this host listens: set --public-url, or \
             keyferry_public_url in the file of settings, to what the machine can reach"
        );
    }
    let (stopper, stop) = stop::channel();
    stop_on_signal(stopper.clone(), (Duration::ZERO, Duration::ZERO))?;
    let app = start(config, &data_dir, reachable, stop).await?;
    tokio::spawn(master_key::follow(app.clone(), stopper));
    tokio::spawn(server_keys::follow(app.clone()));
    let wired = find(&app, vm).await?;
    let listener = listen(socket)?;
    tell_flags(socket)?;
    info!(vm = %wired.vm, socket = %socket.display(), "the host channel is open");
    let place = Place::free();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _address) = accepted?;
                tokio::spawn(serve_one(app.clone(), (wired, place.clone()), stream));
            }
            () = app.stop.requested() => break,
        }
    }
    std::fs::remove_file(socket)?;
    app.store.close().await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    Ok(())
}

async fn serve_one(app: App, wire: (WiredVm, Place), stream: UnixStream) {
    let stop = app.stop.clone();
    tokio::select! {
        ended = converse(app, wire, stream) => {
            if let Err(cause) = ended {
                debug!(%cause, "the hypervisor's connection ended");
            }
        }
        () = stop.requested() => {}
    }
}

async fn find(app: &App, vm: &str) -> Result<WiredVm, Failure> {
    let found = app.store.vms_of_any_tenant(vm, vm.parse().ok()).await?;
    match found.as_slice() {
        [(tenant, vm)] => Ok(WiredVm {
            tenant: *tenant,
            vm: *vm,
        }),
        [] => Err(
            format!("there is no VM {vm}; its owner adds it with `keyferry vms add {vm}`").into(),
        ),
        several => {
            let ids: Vec<_> = several.iter().map(|(_, id)| id.to_string()).collect();
            Err(format!(
                "several tenants have a VM {vm}; name one by id: {}",
                ids.join(", ")
            )
            .into())
        }
    }
}

/// The socket is for the user that the hypervisor runs as; nobody else may ask for tickets.
fn listen(path: &Path) -> Result<UnixListener, Failure> {
    if let Ok(there) = std::fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(format!("{} exists and is not a socket", path.display()).into());
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(format!("{} is answered by another process", path.display()).into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)
        .map_err(|cause| format!("cannot listen at {}: {cause}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn tell_flags(socket: &Path) -> std::io::Result<()> {
    let path = socket.display();
    let mut stdout = std::io::stdout().lock();
    writeln!(
        stdout,
        "QEMU:\n  -device virtio-serial-pci \\\n  \
         -chardev socket,id=keyferry,path={path},reconnect=2 \\\n  \
         -device virtserialport,chardev=keyferry,name=org.keyferry.0\n\
         libvirt, inside <devices>:\n  \
         <channel type='unix'>\n    \
         <source mode='connect' path='{path}'><reconnect enabled='yes' timeout='2'/></source>\n    \
         <target type='virtio' name='org.keyferry.0'/>\n  \
         </channel>\n\
         In the VM: keyferry-agent run --channel auto\n\
         ready {path}"
    )?;
    stdout.flush()?;
    let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    Ok(())
}
