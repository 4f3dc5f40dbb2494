//! A bounded queue between a replica's listener, which must return at once, and a connection, which
//! may be slow. A full queue is dropped, and only remembers that updates are missing. Between two
//! conversations it only counts local updates.

use crate::body::Shared;
use crate::config::Config;
use crate::limits::TRANSMIT_SOFT_BYTES_MAX;
use crate::replica::Origin;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Queue {
    /// A conversation is in progress.
    open: bool,
    updates: VecDeque<(Arc<Shared>, Origin)>,
    bytes: usize,
    overflowed: bool,
    /// The number of local updates among the dropped ones.
    forgotten: u64,
    /// The number of local updates so far.
    pushed: u64,
}

/// The updates that a connection takes at once.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) updates: Vec<(Arc<Shared>, Origin)>,
    /// Updates were dropped. The updates that follow need an exchange of versions first.
    pub(crate) overflowed: bool,
    /// The number of dropped updates that were local.
    pub(crate) forgotten: u64,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    updates_max: usize,
    bytes_max: usize,
}

impl Outbox {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            updates_max: config.queue_updates_max,
            bytes_max: config.queue_bytes_max,
        }
    }

    /// Begins a conversation. Returns the number of earlier local updates. The conversation covers
    /// these by the replica's version.
    pub(crate) fn begin(&self) -> u64 {
        let mut queue = self.lock();
        *queue = Queue { open: true, pushed: queue.pushed, ..Queue::default() };
        queue.pushed
    }

    /// Ends the conversation.
    pub(crate) fn end(&self) {
        let mut queue = self.lock();
        *queue = Queue { pushed: queue.pushed, ..Queue::default() };
    }

    /// Adds an update. Never waits for the connection.
    pub(crate) fn push(&self, update: &[u8], origin: Origin) {
        let mut queue = self.lock();
        let local = u64::from(origin == Origin::Local);
        queue.pushed += local;
        if !queue.open {
            return;
        }
        let full = queue.updates.len() >= self.updates_max
            || queue.bytes.saturating_add(update.len()) > self.bytes_max;
        if full {
            let waited =
                queue.updates.iter().filter(|(_, origin)| *origin == Origin::Local).count() as u64;
            let forgotten = queue.forgotten + waited + local;
            *queue = Queue {
                open: true,
                overflowed: true,
                forgotten,
                pushed: queue.pushed,
                ..Queue::default()
            };
        } else if !queue.overflowed {
            queue.bytes += update.len();
            queue.updates.push_back((share(update), origin));
        } else {
            queue.forgotten += local;
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Waits until the queue has something to take. Cancel safe.
    pub(crate) async fn filled(&self) {
        while self.is_empty() {
            self.filled.notified().await;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let queue = self.lock();
        queue.updates.is_empty() && !queue.overflowed
    }

    /// Takes the oldest pending updates: at least one if there is any, at most `updates_max`, and
    /// no more than `TRANSMIT_SOFT_BYTES_MAX` bytes beyond the first one.
    pub(crate) fn take(&self, updates_max: usize) -> Taken {
        let mut queue = self.lock();
        let mut bytes = 0;
        let within = |(update, _): &&(Arc<Shared>, Origin)| {
            let first = bytes == 0;
            bytes += update.len();
            first || bytes <= TRANSMIT_SOFT_BYTES_MAX
        };
        let count = queue.updates.iter().take(updates_max).take_while(within).count();
        let updates: Vec<_> = queue.updates.drain(..count).collect();
        queue.bytes -= updates.iter().map(|(update, _)| update.len()).sum::<usize>();
        Taken {
            updates,
            overflowed: std::mem::take(&mut queue.overflowed),
            forgotten: std::mem::take(&mut queue.forgotten),
        }
    }

    /// The number of local updates so far.
    pub(crate) fn pushed(&self) -> u64 {
        self.lock().pushed
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic elsewhere cannot leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The last update that was copied on this thread.
    static LAST: RefCell<Weak<Shared>> = const { RefCell::new(Weak::new()) };
}

/// A copy of an update that all connections share. A replica calls its listeners one after the
/// other, each with the same bytes, so the last copy is compared and reused. Comparing takes no
/// longer than copying.
fn share(update: &[u8]) -> Arc<Shared> {
    let shared = LAST.try_with(|last| {
        let mut last = last.try_borrow_mut().ok()?;
        let shared = last
            .upgrade()
            .filter(|shared| shared.update() == update)
            .unwrap_or_else(|| Shared::new(update));
        *last = Arc::downgrade(&shared);
        Some(shared)
    });
    // Fails if the thread is ending.
    shared.ok().flatten().unwrap_or_else(|| Shared::new(update))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_an_update_and_take_no_more_than_the_soft_limit() {
        let config = Config::default();
        let boxes = [Outbox::new(&config), Outbox::new(&config)];
        boxes.iter().for_each(|outbox| _ = outbox.begin());
        let large = vec![1; TRANSMIT_SOFT_BYTES_MAX / 2 + 1];
        for update in [&large[..], b"small", &large, &large] {
            boxes.iter().for_each(|outbox| outbox.push(update, Origin::Local));
        }
        for count in [2, 1, 1, 0] {
            let [ours, theirs] = [&boxes[0], &boxes[1]].map(|outbox| outbox.take(16).updates);
            assert_eq!(ours.len(), count);
            assert!(
                ours.iter().zip(&theirs).all(|((ours, _), (theirs, _))| Arc::ptr_eq(ours, theirs))
            );
        }
    }

    #[test]
    fn a_full_queue_drops_its_updates_and_reports_the_overflow() {
        let config = Config::default().queue_max(2, 100).expect("valid");
        let outbox = Outbox::new(&config);
        outbox.push(b"before", Origin::Local);
        assert_eq!((outbox.is_empty(), outbox.begin()), (true, 1));
        outbox.push(b"a", Origin::Local);
        outbox.push(b"b", Origin::Remote);
        let taken = outbox.take(1);
        assert!(matches!(&taken.updates[..], [(update, Origin::Local)] if update.update() == b"a"));
        assert!(!taken.overflowed);
        outbox.push(b"c", Origin::Local);
        outbox.push(b"d", Origin::Local);
        outbox.push(b"e", Origin::Local);
        let taken = outbox.take(9);
        assert!(taken.updates.is_empty() && taken.overflowed);
        // One earlier local update was taken, and one update was remote.
        assert_eq!((taken.forgotten, outbox.pushed()), (3, 5));
        outbox.push(&[0; 101], Origin::Local);
        assert!(outbox.take(9).overflowed);
        outbox.push(b"f", Origin::Local);
        assert_eq!(outbox.take(9).updates.len(), 1);
        assert!(outbox.is_empty());
        outbox.push(b"g", Origin::Local);
        outbox.end();
        outbox.push(b"h", Origin::Local);
        assert_eq!((outbox.is_empty(), outbox.begin()), (true, 9));
    }
}
