//! How many handshakes with agents this process does at once, and for whom.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::network::Network;

/// The handshakes under way. Whoever knocks is unknown: nobody may take every place.
#[derive(Clone, Default)]
pub(crate) struct Handshakes(Arc<Mutex<UnderWay>>);

#[derive(Default)]
struct UnderWay {
    total: usize,
    clients: HashMap<Network, usize>,
}

/// One handshake; its place is free again when it is dropped.
pub(crate) struct Place {
    handshakes: Handshakes,
    client: Network,
}

impl Handshakes {
    /// Room for one more from this address; `None` when too many are under way.
    pub(crate) fn place(&self, address: IpAddr) -> Option<Place> {
        let client = Network::of_client(address);
        let mut under_way = self.lock();
        let of_client = under_way.clients.get(&client).copied().unwrap_or(0);
        if under_way.total >= MOST || of_client >= MOST_OF_ONE_CLIENT {
            return None;
        }
        under_way.total += 1;
        under_way.clients.insert(client, of_client + 1);
        drop(under_way);
        Some(Place {
            handshakes: self.clone(),
            client,
        })
    }

    /// How many are under way.
    pub(crate) fn count(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.handshakes.lock();
        under_way.total -= 1;
        if let Some(of_client) = under_way.clients.get_mut(&self.client) {
            *of_client -= 1;
            if *of_client == 0 {
                under_way.clients.remove(&self.client);
            }
        }
    }
}

/// Handshakes under way at once; one takes about a millisecond of a core.
const MOST: usize = 256;
/// Of those, for one address or IPv6 /64: many machines may stand behind it, and each is quick.
const MOST_OF_ONE_CLIENT: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn a_client_gets_its_share_and_no_more() {
        let handshakes = Handshakes::default();
        let knock = |text: &str| handshakes.place(text.parse().unwrap());
        let held: Vec<_> = (0..MOST_OF_ONE_CLIENT)
            .map(|number| knock(&format!("2001:db8::{number}")).unwrap())
            .collect();
        assert!(knock("2001:db8::ffff").is_none());
        assert!(knock("2001:db8:0:1::1").is_some());
        drop(held);
        assert!(knock("2001:db8::1").is_some());
        assert_eq!(handshakes.count(), 0);
        assert!(handshakes.lock().clients.is_empty());
    }

    #[test]
    fn all_together_are_bounded() {
        let handshakes = Handshakes::default();
        let address = |number| IpAddr::from(Ipv4Addr::from_bits(number));
        let held: Vec<_> = (0..256)
            .map(|number| handshakes.place(address(number)).unwrap())
            .collect();
        assert!(handshakes.place(address(256)).is_none());
        drop(held);
        assert!(handshakes.place(address(256)).is_some());
    }
}
