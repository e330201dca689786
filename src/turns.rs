//! How much of the directories one client may have at once: as many operations as there are places, and the others in the order they came.
//!
//! A client is a principal, however many sessions it has, or the address of those who did not bind. Answers from memory take no turn.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The places of all clients.
#[derive(Debug)]
pub(crate) struct Turns {
    most: usize,
    places: Mutex<HashMap<Whose, Arc<Semaphore>>>,
}

/// Whose places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Whose(Client);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Client {
    Principal(Box<str>),
    Address(IpAddr),
}

/// One operation's turn: asked for, and perhaps come. Dropped, it is the next one's.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    whose: Whose,
    /// `Some` until it is dropped.
    places: Option<Arc<Semaphore>>,
    taken: Option<OwnedSemaphorePermit>,
}

/// The turn had not come at the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotYet;

impl Turns {
    /// `most` places for each client, at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), places: Mutex::default() }
    }

    /// A turn for that client.
    pub(crate) fn ask(self: &Arc<Self>, whose: Whose) -> Turn {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let own = places.entry(whose.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.most)));
        Turn { turns: Arc::clone(self), places: Some(Arc::clone(own)), whose, taken: None }
    }

    /// Clients that have a turn or wait for one.
    pub(crate) fn clients(&self) -> usize {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Whose {
    /// That principal's.
    pub(crate) fn principal(name: &str) -> Self {
        Self(Client::Principal(name.into()))
    }

    /// Those of whoever is at that address. Of IPv6 the first 64 bits count: the others are the client's own choice (RFC 4291).
    pub(crate) fn address(address: IpAddr) -> Self {
        let network = match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        };
        Self(Client::Address(network))
    }
}

impl Turn {
    /// It has come, perhaps just now.
    pub(crate) fn has_come(&mut self) -> bool {
        if self.taken.is_none() {
            self.taken = self.places.as_ref().and_then(|places| Arc::clone(places).try_acquire_owned().ok());
        }
        self.taken.is_some()
    }

    /// Waits until it has come.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`NotYet`] after the deadline.
    pub(crate) async fn come(&mut self, deadline: Instant) -> Result<(), NotYet> {
        if self.taken.is_none() {
            let places = self.places.as_ref().ok_or(NotYet)?;
            let taken = timeout_at(deadline, Arc::clone(places).acquire_owned()).await;
            self.taken = Some(taken.map_err(|_| NotYet)?.map_err(|_| NotYet)?);
        }
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.taken = None;
        let mut places = self.turns.places.lock().unwrap_or_else(PoisonError::into_inner);
        self.places = None;
        // Nobody else has a turn or waits: clients that are gone leave nothing.
        if places.get(&self.whose).is_some_and(|places| Arc::strong_count(places) == 1) {
            places.remove(&self.whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_so_many_operations_at_once_and_the_next_when_one_ends() {
        let turns = Arc::new(Turns::new(2));
        let mut own = [0, 1, 2].map(|_| turns.ask(Whose::principal("cn=pbx")));
        let [first, second, third] = &mut own;
        assert_eq!((first.come(soon()).await, second.come(soon()).await), (Ok(()), Ok(())));
        assert_eq!(third.come(soon()).await, Err(NotYet));
        let mut other = turns.ask(Whose::principal("cn=phone"));
        assert_eq!(other.come(soon()).await, Ok(()), "others are not held up");
        let [first, _second, mut third] = own;
        drop(first);
        assert_eq!(third.come(soon()).await, Ok(()));
    }

    #[tokio::test]
    async fn clients_that_are_gone_leave_nothing() {
        let turns = Arc::new(Turns::new(1));
        let (mut one, other) = (turns.ask(Whose::address([10, 0, 0, 1].into())), turns.ask(Whose::address([10, 0, 0, 1].into())));
        assert_eq!(one.come(soon()).await, Ok(()));
        assert_eq!(turns.clients(), 1);
        drop(one);
        assert_eq!(turns.clients(), 1, "somebody still waits");
        drop(other);
        assert_eq!(turns.clients(), 0);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let whose = |address: &str| Whose::address(address.parse().unwrap());
        assert_eq!(whose("2001:db8::1"), whose("2001:db8::ffff:2"));
        assert_ne!(whose("2001:db8::1"), whose("2001:db8:0:1::1"));
        assert_ne!(whose("10.0.0.1"), whose("10.0.0.2"));
        assert_eq!(whose("::ffff:10.0.0.1"), whose("10.0.0.1"));
        assert_ne!(Whose::principal("10.0.0.1"), whose("10.0.0.1"));
    }
}
