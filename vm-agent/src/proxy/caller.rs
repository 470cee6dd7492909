//! Whose connection it is, by the kernel's word (sock_diag(7)).

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// The user who made the connection from `tool` to us. Both ends are on this machine. A socket that
/// no process has open any more has no user, though the kernel says root.
pub(super) fn user_of(tool: SocketAddrV4, us: SocketAddrV4) -> io::Result<u32> {
    let diagnosis = open()?;
    send(&diagnosis, &question(tool, us), SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (_, length) = recv(&diagnosis, &mut answer, RecvFlags::empty())?;
    user_in(answer.get(..length).unwrap_or_default()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn open() -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn question(tool: SocketAddrV4, us: SocketAddrV4) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(72);
    bytes.extend(72_u32.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([AF_INET, IPPROTO_TCP, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(tool.port().to_be_bytes());
    bytes.extend(us.port().to_be_bytes());
    for address in [tool, us] {
        bytes.extend(address.ip().octets());
        bytes.extend([0; 12]);
    }
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

/// `struct inet_diag_msg` has the user at 64 and the inode at 68, behind a header of 16. Without an
/// inode the socket is closing.
fn user_in(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    if kind != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let number = |at| Some(u32::from_ne_bytes(*answer.get(at..)?.first_chunk()?));
    let (user, inode): (u32, u32) = (number(80)?, number(84)?);
    (inode != 0).then_some(user)
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(address) => panic!("{address}"),
        }
    }

    #[test]
    fn the_user_of_a_connection_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let us = v4(listener.local_addr().unwrap());
        let tool = TcpStream::connect(us).unwrap();
        let user = user_of(v4(tool.local_addr().unwrap()), us).unwrap();
        assert_eq!(user, rustix::process::geteuid().as_raw());
    }

    #[test]
    fn a_connection_whose_tool_has_let_go_has_no_user() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let us = v4(listener.local_addr().unwrap());
        let tool = TcpStream::connect(us).unwrap();
        let _accepted = listener.accept().unwrap();
        let address = v4(tool.local_addr().unwrap());
        drop(tool);
        assert!(user_of(address, us).is_err());
    }

    #[test]
    fn a_connection_that_is_not_there_has_no_user() {
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert!(user_of(nobody, nobody).is_err());
    }
}
