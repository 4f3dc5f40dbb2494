//! Limits the connections of a server: in all, from one address at a time, and from one address in
//! a minute.
//!
//! New connections in a minute are counted by the generic cell rate algorithm (ITU-T I.371), which
//! stores one point in time for each address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Within this time an address may connect as many times as it may have connections at once.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses without a connection that are remembered because they connected recently.
const REMEMBERED_MAX: usize = 65_536;

/// Gives permits for the connections of a server.
#[derive(Debug)]
pub(super) struct Permits {
    all: Arc<Semaphore>,
    each_max: usize,
    sources: Mutex<BTreeMap<IpAddr, Source>>,
}

#[derive(Debug)]
struct Source {
    open: usize,
    /// When the address has its full allowance of new connections again, if it makes no further
    /// one.
    settled_at: Instant,
}

/// A permit for one connection. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Permit {
    _one: OwnedSemaphorePermit,
    source: Option<(Arc<Permits>, IpAddr)>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((permits, source)) = self.source.take() {
            permits.leave(source);
        }
    }
}

impl Permits {
    pub(super) fn new(connections_max: usize, each_max: usize) -> Arc<Self> {
        let all = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { all, each_max, sources: Mutex::default() })
    }

    /// A permit for a connection that is not counted for an address.
    pub(super) fn take(&self) -> Option<Permit> {
        Some(Permit { _one: Arc::clone(&self.all).try_acquire_owned().ok()?, source: None })
    }

    /// A permit for a connection from this address. A client that has not `proved` its address gets
    /// at most half of the permits of the address. So a client with a forged source address cannot
    /// lock out the real owner of the address.
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    pub(super) fn take_from(
        self: &Arc<Self>,
        from: IpAddr,
        proved: bool,
        now: Instant,
    ) -> Option<Permit> {
        let source = network(from);
        let mut permit = self.take()?;
        let part = if proved { 1 } else { 2 };
        let most = (self.each_max / part).max(1);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= self.all.available_permits().saturating_add(REMEMBERED_MAX) {
            sources.retain(|_, source| source.open > 0);
        }
        let known = sources.entry(source).or_insert(Source { open: 0, settled_at: now });
        let step = WINDOW / u32::try_from(self.each_max).unwrap_or(u32::MAX);
        let settled_at = known.settled_at.max(now) + step;
        if known.open >= most || settled_at.duration_since(now) > (WINDOW / part as u32).max(step) {
            return None;
        }
        (known.open, known.settled_at) = (known.open + 1, settled_at);
        permit.source = Some((Arc::clone(self), source));
        Some(permit)
    }

    fn leave(&self, source: IpAddr) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.get_mut(&source) {
            known.open -= 1;
        }
    }
}

/// The network that usually belongs to one customer: an IPv4 address, or the first 64 bits of an
/// IPv6 address.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    #[allow(clippy::disallowed_methods, reason = "an arbitrary start time for a test")]
    fn some_moment() -> Instant {
        Instant::now()
    }

    #[test]
    fn permits_per_address_are_limited() {
        let permits = Permits::new(100, 4);
        let now = some_moment();
        let held: Vec<_> = (0..10).filter_map(|_| permits.take_from(ONE, true, now)).collect();
        assert_eq!(held.len(), 4);
        assert!(permits.take_from(OTHER, true, now).is_some());
        drop(held);
        assert!(permits.take_from(ONE, true, now).is_none(), "it came four times in this minute");
        assert!(
            permits.take_from(ONE, true, now + WINDOW / 4).is_some(),
            "a quarter of the minute is one more"
        );
        assert!(permits.take_from(ONE, true, now + WINDOW / 4).is_none());
    }

    #[test]
    fn all_permits_together_are_limited() {
        let permits = Permits::new(3, 2);
        let now = some_moment();
        let held: Vec<_> = [ONE, ONE, OTHER, OTHER]
            .iter()
            .filter_map(|from| permits.take_from(*from, true, now))
            .collect();
        assert_eq!(held.len(), 3);
        assert!(permits.take().is_none());
        drop(held);
        assert!(permits.take().is_some());
    }

    #[test]
    fn unproved_addresses_leave_permits_for_proved_ones() {
        let permits = Permits::new(100, 4);
        let now = some_moment();
        let false_ones: Vec<_> =
            (0..10).filter_map(|_| permits.take_from(ONE, false, now)).collect();
        assert_eq!(false_ones.len(), 2);
        assert!(permits.take_from(ONE, true, now).is_some());
        let one = Permits::new(100, 1);
        assert!(one.take_from(ONE, false, now).is_some(), "a limit of one is one, proved or not");
    }

    #[test]
    fn addresses_of_one_network_share_their_permits() {
        let permits = Permits::new(100, 1);
        let now = some_moment();
        let address =
            |last: u64| IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | u128::from(last)));
        let _held = permits.take_from(address(1), true, now).expect("a permit");
        assert!(permits.take_from(address(u64::MAX), true, now).is_none());
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
        let _held = permits.take_from(ONE, true, now).expect("a permit");
        assert!(
            permits.take_from(mapped.into(), true, now).is_none(),
            "the same address, as IPv6 writes it"
        );
    }

    #[test]
    fn the_number_of_remembered_addresses_is_bounded() {
        let permits = Permits::new(10, 2);
        let now = some_moment();
        let _held = permits.take_from(ONE, true, now).expect("a permit");
        for address in 0..200_000_u32 {
            drop(permits.take_from(IpAddr::V4(address.into()), true, now));
        }
        let sources = permits.sources.lock().expect("the sources");
        assert!(sources.len() <= REMEMBERED_MAX + 10 && sources[&ONE].open == 1);
    }
}
