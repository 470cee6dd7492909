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
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Addresses {
    pub(super) fn new(most: usize) -> Self {
        Self {
            counts: Arc::default(),
            most,
        }
    }

    /// One of the seats that this address may have, if there is one left.
    pub(super) fn seat(&self, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Seat> {
        let address = Network::of_client(address).first();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Seat {
            addresses: self.clone(),
            address,
            _permit: permit,
        })
    }
}

impl Drop for Seat {
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
            addresses.seat(address, Arc::clone(&seats).try_acquire_owned().unwrap())
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
}
