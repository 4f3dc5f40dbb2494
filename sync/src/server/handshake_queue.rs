//! Connection attempts that wait for their handshake.
//!
//! A handshake costs a server more than anything else that an untrusted client can ask for. So
//! handshakes begin at a steady pace that leaves time for the connected peers. The waiting
//! addresses take turns, so a crowd from one address does not delay the others.

use super::permits::network;
use crate::limits::{HANDSHAKE_QUEUE_SECONDS, HANDSHAKES_AT_ONCE, WAITING_PER_ADDRESS_MAX};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The attempts that wait at one listener.
pub(super) struct HandshakeQueue<T> {
    waiting: BTreeMap<IpAddr, VecDeque<T>>,
    /// The addresses in `waiting`, the next one first.
    turns: VecDeque<IpAddr>,
    len: usize,
    len_max: usize,
    /// The time between two handshakes, once the first ones have begun.
    step: Duration,
    /// The time at which the full number of handshakes could begin at once again (generic cell rate
    /// algorithm, ITU-T I.371).
    settled_at: Instant,
}

impl<T> HandshakeQueue<T> {
    /// An empty queue that begins `per_second` handshakes in a second.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let step = Duration::from_secs(1) / per_second.max(1);
        let len_max = per_second.saturating_mul(HANDSHAKE_QUEUE_SECONDS) as usize;
        Self {
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
            len: 0,
            len_max,
            step,
            settled_at: now,
        }
    }

    /// The number of waiting attempts.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an attempt. If there is no room, the attempt comes back as the error.
    pub(super) fn add(&mut self, from: IpAddr, attempt: T) -> Result<(), T> {
        let from = network(from);
        let waiting = self.waiting.get(&from).map_or(0, VecDeque::len);
        if self.len >= self.len_max || waiting >= WAITING_PER_ADDRESS_MAX {
            return Err(attempt);
        }
        let queue = self.waiting.entry(from).or_default();
        if queue.is_empty() {
            self.turns.push_back(from);
        }
        queue.push_back(attempt);
        self.len += 1;
        Ok(())
    }

    /// When the next handshake may begin; `None` if no attempt waits.
    pub(super) fn due(&self) -> Option<Instant> {
        let ahead = self.step * HANDSHAKES_AT_ONCE;
        (self.len > 0).then(|| self.settled_at.checked_sub(ahead).unwrap_or(self.settled_at))
    }

    /// Takes the next attempt. The caller has waited until it is due.
    pub(super) fn leave(&mut self, now: Instant) -> Option<T> {
        let from = self.turns.pop_front()?;
        let queue = self.waiting.get_mut(&from)?;
        let attempt = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&from);
        } else {
            self.turns.push_back(from);
        }
        self.len -= 1;
        self.settled_at = self.settled_at.max(now) + self.step;
        Some(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    #[allow(clippy::disallowed_methods, reason = "an arbitrary start time for a test")]
    fn some_moment() -> Instant {
        Instant::now() + Duration::from_secs(3_600)
    }

    #[test]
    fn addresses_take_turns_in_the_handshake_queue() {
        let now = some_moment();
        let mut queue = HandshakeQueue::new(100, now);
        let taken = (0..2 * WAITING_PER_ADDRESS_MAX)
            .filter(|number| queue.add(address(1), *number).is_ok())
            .count();
        assert_eq!((taken, queue.len()), (WAITING_PER_ADDRESS_MAX, WAITING_PER_ADDRESS_MAX));
        assert_eq!(queue.add(address(2), 1_000), Ok(()));
        assert_eq!(queue.add(address(2), 1_001), Ok(()));
        let order: Vec<_> = std::iter::from_fn(|| queue.leave(now)).collect();
        assert_eq!(order[..5], [0, 1_000, 1, 1_001, 2]);
        assert_eq!((order.len(), queue.len(), queue.due()), (WAITING_PER_ADDRESS_MAX + 2, 0, None));
        assert!(queue.waiting.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn handshakes_start_with_a_burst_then_at_a_steady_pace() {
        let begin = some_moment();
        let mut queue = HandshakeQueue::new(100, begin);
        let mut now = begin;
        let mut at_once = 0;
        for number in 0..400_u32 {
            assert_eq!(queue.add(address(number.to_le_bytes()[0]), number), Ok(()));
        }
        while let Some(due) = queue.due() {
            at_once += u32::from(due <= begin);
            now = now.max(due);
            assert!(queue.leave(now).is_some());
        }
        assert_eq!(at_once, HANDSHAKES_AT_ONCE + 1);
        assert_eq!(now - begin, Duration::from_millis(10) * (399 - HANDSHAKES_AT_ONCE));
    }

    #[test]
    fn the_whole_handshake_queue_is_bounded() {
        let mut queue = HandshakeQueue::new(100, some_moment());
        let taken = (0..=255)
            .flat_map(|last| [last; 10])
            .filter(|last| queue.add(address(*last), ()).is_ok())
            .count();
        assert_eq!(taken, 100 * HANDSHAKE_QUEUE_SECONDS as usize);
    }
}
