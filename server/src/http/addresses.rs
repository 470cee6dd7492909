//! How many connections one address may hold, so that a single client cannot take every seat.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use crate::network::Network;

/// Counts the connections of each address; an IPv6 client is its /64.
#[derive(Clone)]
pub(super) struct Addresses {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

/// The right to one connection, given back on drop.
pub(super) struct Seat {
    addresses: Addresses,
    permit: Arc<OwnedSemaphorePermit>,
    /// None for a proxy's connection, on which many clients take turns.
    share: Option<Share>,
}

/// One of the connections of an address.
struct Share {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    pub(super) fn new(most: usize) -> Self {
        Self {
            counts: Arc::default(),
            most,
        }
    }

    /// One of the seats that this address may have, if there is one left. A proxy's connection
    /// counts for nobody.
    pub(super) fn seat(
        &self,
        address: Option<IpAddr>,
        permit: OwnedSemaphorePermit,
    ) -> Option<Seat> {
        let share = match address {
            Some(address) => Some(self.share(address)?),
            None => None,
        };
        Some(Seat {
            addresses: self.clone(),
            permit: Arc::new(permit),
            share,
        })
    }

    fn share(&self, address: IpAddr) -> Option<Share> {
        let address = Network::of_client(address).first();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share {
            addresses: self.clone(),
            address,
        })
    }
}

impl Seat {
    /// This seat for a request of a client: on a proxy's connection it counts for the client as
    /// long as it is held, if the client may have one more.
    pub(super) fn of_client(self: &Arc<Self>, client: IpAddr) -> Option<Arc<Self>> {
        if self.share.is_some() {
            return Some(Arc::clone(self));
        }
        Some(Arc::new(Self {
            addresses: self.addresses.clone(),
            permit: Arc::clone(&self.permit),
            share: Some(self.addresses.share(client)?),
        }))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self
            .addresses
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::Addresses;

    #[test]
    fn an_address_gets_its_share_and_no_more() {
        let seats = Arc::new(Semaphore::new(9));
        let addresses = Addresses::new(1);
        let seat = |text: &str| {
            let address: IpAddr = text.parse().unwrap();
            addresses.seat(
                Some(address),
                Arc::clone(&seats).try_acquire_owned().unwrap(),
            )
        };
        let first = seat("2001:db8::1");
        assert!(first.is_some());
        assert!(seat("2001:db8::2").is_none());
        assert!(seat("2001:db8:0:1::1").is_some());
        drop(first);
        assert!(seat("2001:db8::2").is_some());
        assert_eq!(seats.available_permits(), 9);
        assert!(addresses.counts.lock().unwrap().is_empty());
    }

    #[test]
    fn behind_a_proxy_each_client_has_a_share_of_its_own() {
        let seats = Arc::new(Semaphore::new(9));
        let addresses = Addresses::new(1);
        let proxys = || {
            let permit = Arc::clone(&seats).try_acquire_owned().unwrap();
            Arc::new(addresses.seat(None, permit).unwrap())
        };
        let (one, other) = (proxys(), proxys());
        let client = |text: &str| -> IpAddr { text.parse().unwrap() };
        let held = one.of_client(client("192.0.2.1"));
        assert!(held.is_some());
        assert!(other.of_client(client("192.0.2.1")).is_none());
        assert!(other.of_client(client("192.0.2.2")).is_some());
        drop(one);
        assert_eq!(
            seats.available_permits(),
            7,
            "a held share keeps the connection"
        );
        drop(held);
        assert!(other.of_client(client("192.0.2.1")).is_some());
        drop(other);
        assert_eq!(seats.available_permits(), 9);
    }
}
