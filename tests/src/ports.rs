//! Ports of this machine for programs that are told theirs, or come back to it after their death:
//! below those that the kernel gives to whoever asks for any, and in a block that no other test
//! process has.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, OnceLock};

/// One.
pub fn free_port() -> u16 {
    Block::own().next()
}

/// Several, each another.
pub fn free_ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| free_port()).collect()
}

/// Ports that this process alone gives out, the oldest last.
struct Block {
    first: u16,
    given: Mutex<u16>,
    /// Who listens at the block's name has the block, and the kernel takes it back.
    _owned: UnixListener,
}

impl Block {
    fn own() -> &'static Self {
        static OWN: OnceLock<Block> = OnceLock::new();
        OWN.get_or_init(Self::free)
    }

    fn free() -> Self {
        let mut blocks = (LOWEST..=lowest_of_the_kernel() - SIZE).step_by(usize::from(SIZE));
        blocks
            .find_map(Self::take)
            .expect("fewer test processes than blocks run at a time")
    }

    fn take(first: u16) -> Option<Self> {
        let name = format!("keyferry-tests-ports-{first}");
        let address = SocketAddr::from_abstract_name(name).unwrap();
        Some(Self {
            first,
            given: Mutex::new(0),
            _owned: UnixListener::bind_addr(&address).ok()?,
        })
    }

    /// Passes over what somebody else's program has.
    fn next(&self) -> u16 {
        let mut given = self.given.lock().unwrap();
        for _ in 0..SIZE {
            let port = self.first + *given;
            *given = (*given + 1) % SIZE;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
        panic!("all of {SIZE} ports from {} on are in use", self.first)
    }
}

/// From here on the kernel gives ports to connections, and to whoever asks for any.
fn lowest_of_the_kernel() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.unwrap_or_default();
    let lowest = range.split_whitespace().next().map(str::parse);
    match lowest {
        Some(Ok(lowest)) if lowest >= LOWEST + SIZE => lowest,
        _ => u16::MAX,
    }
}

const LOWEST: u16 = 12_000;
const SIZE: u16 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_never_by_the_kernel() {
        let mut ports = free_ports(100);
        assert!(ports.iter().all(|port| *port < lowest_of_the_kernel()));
        ports.dedup();
        assert_eq!(ports.len(), 100);
    }

    #[test]
    fn a_port_that_somebody_has_is_passed_over() {
        let block = Block::free();
        let next = block.next() + 1;
        let _somebody = TcpListener::bind(("127.0.0.1", next)).unwrap();
        assert_eq!(block.next(), next + 1);
    }

    #[test]
    fn a_block_belongs_to_one_process_until_it_ends() {
        // Where no block is that a story could be given meanwhile.
        let first = u16::try_from(std::process::id() % u32::from(LOWEST)).unwrap();
        let block = Block::take(first).unwrap();
        assert!(Block::take(first).is_none());
        drop(block);
        assert!(Block::take(first).is_some());
    }
}
