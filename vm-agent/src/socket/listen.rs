//! Listening: the socket file, its owner and mode, and the bound on who is served at once.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyferry_protocol::local::{RefusalCode, Reply};
use rustix::fs::{Gid, Mode};
use tracing::{debug, warn};

use super::{Peer, converse};
use crate::agent::{Agent, refusal};
use crate::places::Places;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// An agent answers there.
    #[error("another agent is running at {}", .0.display())]
    Occupied(PathBuf),
    /// Something else has that name.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The group does not exist.
    #[error("there is no group {0}")]
    NoSuchGroup(String),
    /// The kernel refused.
    #[error("cannot listen at {}", path.display())]
    Refused {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Makes the socket, mode 0660, of `group` if one is named; what a dead agent left is replaced.
/// Gives the socket's group with it. [`open_to_all`] makes it wider.
pub fn bind(path: &Path, group: Option<&str>) -> Result<(UnixListener, u32), BindError> {
    let refused = |source| BindError::Refused {
        path: path.to_owned(),
        source,
    };
    let group = group.map(group_id).transpose()?;
    make_room(path)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refused)?;
    }
    // From its first moment the socket is closed to others: its mode is never wider than this.
    let before = rustix::process::umask(Mode::from_raw_mode(0o117));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(refused)?;
    if group.is_some() {
        std::os::unix::fs::chown(path, None, group).map_err(refused)?;
    }
    listener.set_nonblocking(true).map_err(refused)?;
    let gid = std::fs::metadata(path).map_err(refused)?.gid();
    Ok((listener, gid))
}

/// Lets everybody connect, for rules that name users and groups beside the socket's own. Who is not
/// named is told so by the agent.
pub fn open_to_all(path: &Path) -> Result<(), BindError> {
    let everybody = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(path, everybody).map_err(|source| BindError::Refused {
        path: path.to_owned(),
        source,
    })
}

/// Serves whoever connects, as far as there are places.
pub async fn listen(agent: Arc<Agent>, listener: tokio::net::UnixListener) {
    let tools = Places::new(agent.limits().connections.get());
    let strangers = Places::of_strangers();
    loop {
        let accepted = listener.accept().await;
        let peer = accepted.and_then(|(stream, _)| Ok((Peer::of_socket(&stream)?, stream)));
        match peer {
            Ok((peer, stream)) => {
                let admitted = agent.policy().admits(&peer).is_ok();
                let places = if admitted { &tools } else { &strangers };
                let Some(place) = places.take(peer.uid) else {
                    turn_away(&stream);
                    continue;
                };
                let agent = Arc::clone(&agent);
                tokio::spawn(async move {
                    if let Err(error) = converse(&agent, stream, peer).await {
                        debug!(%error, "a tool's connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, say: let some end before the next try.
                warn!(%error, "a tool cannot be served");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// It is told why; nobody waits for it.
fn turn_away(stream: &tokio::net::UnixStream) {
    let refused = refusal(RefusalCode::Busy, "[limits] connections");
    let _as_well_as_can_be = stream.try_write(&Reply::Refused(refused).encode());
}

/// Removes the socket of an agent that is no more.
fn make_room(path: &Path) -> Result<(), BindError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(BindError::Occupied(path.to_owned()));
    }
    std::fs::remove_file(path).map_err(|source| BindError::Refused {
        path: path.to_owned(),
        source,
    })
}

/// By number, or by name in `/etc/group`.
fn group_id(group: &str) -> Result<u32, BindError> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number).as_raw());
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?;
        if name == group {
            number.parse().ok()
        } else {
            None
        }
    });
    named.ok_or_else(|| BindError::NoSuchGroup(group.to_owned()))
}

const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_for_its_user_and_group_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let (_listener, gid) = bind(&path, None).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(gid, rustix::process::getegid().as_raw());
    }

    #[test]
    fn the_socket_of_a_dead_agent_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        drop(bind(&path, None).unwrap());
        assert!(path.exists());
        bind(&path, None).unwrap();
    }

    #[test]
    fn the_socket_of_a_running_agent_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let _running = bind(&path, None).unwrap();
        assert!(matches!(bind(&path, None), Err(BindError::Occupied(_))));
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path, None), Err(BindError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn groups_are_found_by_name_and_number() {
        assert_eq!(group_id("root").unwrap(), 0);
        assert_eq!(group_id("4711").unwrap(), 4711);
        assert!(matches!(
            group_id("no-such-group"),
            Err(BindError::NoSuchGroup(_))
        ));
    }
}
