//! Who is connected from where, and how fast newcomers come, so that one address cannot take the places and the processor of all others.
//!
//! In: an address, and the time. Out: whether it may enter; who entered leaves once. What counts as one
//! address is [`Whose::address`]'s to say.

use crate::config::Limits;
use crate::metrics::Rejected;
use crate::turns::Whose;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The addresses that are connected, or were a moment ago.
#[derive(Debug)]
pub(super) struct Addresses {
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    connections: u32,
    /// Between two newcomers of one address, on average.
    interval: Duration,
    addresses: HashMap<Whose, Address>,
    /// At so many, those that have gone are looked for.
    sweep_at: usize,
}

#[derive(Debug)]
struct Address {
    open: u32,
    /// When the newcomers so far would all have come, had each kept its interval.
    due: Instant,
}

impl Addresses {
    /// With what `limits` say of one address: so many connections at once, and so many newcomers a second in the long run; [`BURST`] seconds'
    /// worth of them may come at once.
    pub(super) fn new(limits: &Limits) -> Self {
        let (connections, interval) = bounds(limits);
        Self { known: Mutex::new(Known { connections, interval, addresses: HashMap::new(), sweep_at: 0 }) }
    }

    /// From now on these limits count. Who is connected stays.
    pub(super) fn change(&self, limits: &Limits) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        (known.connections, known.interval) = bounds(limits);
    }

    /// Somebody has connected, and [leaves](Addresses::leave) when the connection ends.
    ///
    /// # Errors
    /// Why the connection must be closed at once.
    pub(super) fn enter(&self, peer: IpAddr, now: Instant) -> Result<(), Rejected> {
        let address = Whose::address(peer);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.sweep(now);
        let (connections, interval) = (known.connections, known.interval);
        let state = known.addresses.entry(address).or_insert(Address { open: 0, due: now });
        if state.open >= connections {
            return Err(Rejected::Address);
        }
        let due = state.due.max(now);
        if due.saturating_duration_since(now) > BURST {
            return Err(Rejected::Rate);
        }
        state.due = due + interval;
        state.open += 1;
        Ok(())
    }

    /// A connection that had entered has ended.
    pub(super) fn leave(&self, peer: IpAddr) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = known.addresses.get_mut(&Whose::address(peer)) {
            address.open = address.open.saturating_sub(1);
        }
    }
}

impl Known {
    /// Forgets addresses that have nothing open and nothing to wait for; now and then, so that it costs nothing on average.
    fn sweep(&mut self, now: Instant) {
        if self.addresses.len() >= self.sweep_at {
            self.addresses.retain(|_, address| address.open > 0 || address.due > now);
            self.sweep_at = (2 * self.addresses.len()).max(FEW);
        }
    }
}

fn bounds(limits: &Limits) -> (u32, Duration) {
    let connections = u32::try_from(limits.connections_per_address).unwrap_or(u32::MAX);
    (connections, Duration::from_secs(1) / limits.connects_per_address.max(1))
}

/// A site behind one address boots at once; a flood goes on.
const BURST: Duration = Duration::from_secs(10);
/// Addresses that are not worth looking through.
const FEW: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(connections: usize, per_second: u32) -> Addresses {
        Addresses::new(&Limits { connections_per_address: connections, connects_per_address: per_second, ..Limits::default() })
    }

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn an_address_has_so_many_connections_and_a_new_one_when_one_ends() {
        let (addresses, now) = (limited(2, 1000), Instant::now());
        assert_eq!([0; 3].map(|_| addresses.enter(ONE, now)), [Ok(()), Ok(()), Err(Rejected::Address)]);
        assert_eq!(addresses.enter(OTHER, now), Ok(()));
        addresses.leave(ONE);
        assert_eq!([0; 2].map(|_| addresses.enter(ONE, now)), [Ok(()), Err(Rejected::Address)]);
    }

    #[test]
    fn a_burst_may_come_and_then_so_many_a_second() {
        let (addresses, mut now) = (limited(1_000_000, 20), Instant::now());
        let at_once = (0..1000).filter(|_| addresses.enter(ONE, now).is_ok()).count();
        assert_eq!(at_once, 201, "ten seconds' worth, and one");
        assert_eq!(addresses.enter(ONE, now), Err(Rejected::Rate));
        let mut entered = 0;
        for _ in 0..1000 {
            now += Duration::from_millis(10);
            entered += usize::from(addresses.enter(ONE, now).is_ok());
        }
        assert_eq!(entered, 200, "in ten seconds");
        assert_eq!(addresses.enter(OTHER, now), Ok(()));
    }

    #[test]
    fn addresses_that_are_gone_are_forgotten() {
        let (addresses, now) = (limited(10, 100), Instant::now());
        for number in 0..10_000_u32 {
            let address = IpAddr::V4(number.into());
            assert_eq!(addresses.enter(address, now + Duration::from_millis(number.into())), Ok(()));
            addresses.leave(address);
        }
        assert!(addresses.known.lock().unwrap().addresses.len() <= 2 * FEW);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let (addresses, now) = (limited(1, 100), Instant::now());
        let enter = |address: &str| addresses.enter(address.parse().unwrap(), now);
        assert_eq!(enter("2001:db8::1"), Ok(()));
        assert_eq!(enter("2001:db8::2"), Err(Rejected::Address));
        assert_eq!(enter("2001:db8:0:1::2"), Ok(()));
    }
}
