//! Ports of this machine that nobody uses. Nobody else can have them while they are asked for;
//! between here and there somebody could.

use std::net::TcpListener;

/// One.
pub fn free_port() -> u16 {
    free_ports(1)[0]
}

/// Several, each another.
pub fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
    let asked: Vec<_> = (0..count).map(bind).collect();
    let told = asked.iter().map(|socket| socket.local_addr().unwrap());
    told.map(|address| address.port()).collect()
}
