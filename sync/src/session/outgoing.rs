//! Frames that wait to be sent.
//!
//! - A frame that reports a state replaces an older frame of its kind. So the queue stays short
//!   with an honest peer.
//! - Updates are numbered and cut into fragments only when they leave. Small updates are compressed
//!   at that moment too.
//! - Large updates are compressed by [`Outgoing::pack`], because that takes a while.

use super::delivery::Sent;
use crate::body::Shared;
use crate::frame::{Between, Frame, fitting};
use crate::limits::{CLOSE_MESSAGE_BYTES_MAX, FRAGMENT_BYTES};
use std::collections::VecDeque;
use std::sync::Arc;

/// Kinds of frames of which only the newest one matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Latest {
    Hello,
    Have,
    Version,
    Digest,
    Conflict,
    Ack,
    Ping,
    Pong,
    Presence,
    PresenceRequest,
    Datagrams,
}

#[derive(Debug)]
enum Item {
    Latest(Latest, Vec<u8>),
    Once(Vec<u8>),
    Updates(Updates),
}

/// Updates that are sent one after the other.
#[derive(Debug)]
struct Updates {
    kind: Kind,
    left: VecDeque<Arc<Shared>>,
    /// For the first update: how it is compressed, and how many bytes of its body were sent in
    /// fragments.
    begun: Option<(Option<usize>, usize)>,
    covers: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An update that was committed during the session.
    Live,
    /// An answer that is not announced yet: the ops that the peer lacks, or the whole document for
    /// a repair.
    Fresh { repair: bool, between: Between },
    /// An answer that is announced.
    Announced { repair: bool },
}

/// The settings for frames that leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    pub(super) frame_bytes_max: usize,
    pub(super) compress_over: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    items: VecDeque<Item>,
    /// Whether the last acknowledgement reported a failure.
    ack_failed: bool,
}

impl Outgoing {
    pub(super) fn push_latest(&mut self, kind: Latest, frame: &Frame<'_>) {
        self.items.retain(|item| !matches!(item, Item::Latest(other, _) if *other == kind));
        self.items.push_back(Item::Latest(kind, frame.encode()));
    }

    /// Queues an acknowledgement. It replaces an acknowledgement that is still queued, but keeps
    /// the failure that the older one reports.
    pub(super) fn push_ack(&mut self, number: u64, kept: u64, failed: bool) {
        let failed = failed || self.ack_failed && self.holds(Latest::Ack);
        self.ack_failed = failed;
        self.push_latest(Latest::Ack, &Frame::Ack { number, kept, failed });
    }

    /// Queues an update. A peer that has it has the first `covers` local updates.
    pub(super) fn push_update(&mut self, update: Arc<Shared>, covers: u64) {
        self.items.push_back(Item::Updates(Updates {
            kind: Kind::Live,
            left: VecDeque::from([update]),
            begun: None,
            covers,
        }));
    }

    /// Queues an answer to the last version of the peer. The peer may send versions as often as it
    /// likes: only one answer is queued, and queued single updates are dropped because the answer
    /// contains them.
    pub(super) fn push_answer(
        &mut self,
        updates: Vec<Vec<u8>>,
        repair: bool,
        between: Between,
        covers: u64,
    ) {
        let contained = |item: &Item| match item {
            Item::Updates(Updates { kind: Kind::Fresh { repair: other, .. }, .. }) => {
                *other == repair
            }
            Item::Updates(Updates { kind: Kind::Live, begun: None, .. }) => !repair,
            _ => false,
        };
        self.items.retain(|item| !contained(item));
        let kind = Kind::Fresh { repair, between };
        let left = updates.iter().map(|update| Shared::new(update)).collect();
        self.items.push_back(Item::Updates(Updates { kind, left, begun: None, covers }));
    }

    /// Whether an answer of this kind is queued or has not left completely.
    pub(super) fn has_answer(&self, to_repair: bool) -> bool {
        self.items.iter().any(|item| match item {
            Item::Updates(updates) => match updates.kind {
                Kind::Live => false,
                Kind::Fresh { repair, .. } | Kind::Announced { repair } => repair == to_repair,
            },
            _ => false,
        })
    }

    pub(super) fn push_close(&mut self, code: u64, message: &str) {
        let message = fitting(message, CLOSE_MESSAGE_BYTES_MAX).to_owned();
        self.items.push_back(Item::Once(Frame::Close { code, message }.encode()));
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
    }

    /// Whether a frame of this kind is queued.
    pub(super) fn holds(&self, kind: Latest) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Latest(other, _) if *other == kind))
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether an update is queued.
    pub(super) fn has_updates(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Updates(_)))
    }

    /// Bytes of queued updates that were committed during the session. Answers do not count, as
    /// only one is queued.
    pub(super) fn update_bytes(&self) -> usize {
        let live = self.items.iter().filter_map(|item| match item {
            Item::Updates(updates) if updates.kind == Kind::Live => Some(updates),
            _ => None,
        });
        live.flat_map(|updates| &updates.left).map(|update| update.len()).sum()
    }

    /// Whether the next frame has to wait for [`pack`](Self::pack).
    pub(super) fn awaits_packing(&self, leaving: Leaving) -> bool {
        match self.items.front() {
            Some(Item::Updates(updates)) => !updates.is_packed(leaving),
            _ => false,
        }
    }

    /// Compresses the large updates among the next two: one to send, and one ahead.
    pub(super) fn pack(&self, leaving: Leaving) {
        let updates = self.items.iter().filter_map(|item| {
            if let Item::Updates(updates) = item { Some(updates) } else { None }
        });
        let next = updates.flat_map(|updates| &updates.left).take(2);
        next.filter(|update| update.is_large())
            .for_each(|update| _ = update.body(leaving.compress_over));
    }

    /// The next frame to send. A large update must be packed before it leaves.
    pub(super) fn pop(&mut self, leaving: Leaving, sent: &mut Sent) -> Option<Vec<u8>> {
        match self.items.pop_front()? {
            Item::Latest(_, frame) | Item::Once(frame) => Some(frame),
            Item::Updates(mut updates) => {
                let frame = updates.next_frame(leaving, sent);
                if !updates.left.is_empty() {
                    self.items.push_front(Item::Updates(updates));
                }
                frame
            }
        }
    }
}

impl Updates {
    /// Whether the next frame needs no long work.
    fn is_packed(&self, leaving: Leaving) -> bool {
        let announced = !matches!(self.kind, Kind::Fresh { .. });
        !announced
            || self.begun.is_some()
            || self.left.front().is_none_or(|update| update.is_packed(leaving.compress_over))
    }

    /// The next frame: the announcement, the whole first update, or its next fragment. `None` if
    /// there is none.
    fn next_frame(&mut self, leaving: Leaving, sent: &mut Sent) -> Option<Vec<u8>> {
        let number = sent.next();
        if let Kind::Fresh { repair, between } = self.kind {
            self.kind = Kind::Announced { repair };
            let bytes = self.left.iter().map(|update| update.len() as u64).sum();
            return Some(
                Frame::Answer {
                    repair,
                    first: number,
                    updates: self.left.len() as u64,
                    bytes,
                    between,
                }
                .encode(),
            );
        }
        let part_max = FRAGMENT_BYTES.min(leaving.frame_bytes_max / 2);
        let (compress_over, offset) = self.begun.take().unwrap_or((leaving.compress_over, 0));
        let update = Arc::clone(self.left.front()?);
        let body = update.body(compress_over);
        let end = body.len().min(offset + part_max);
        let part = body.get(offset..end)?;
        let whole = offset == 0 && end == body.len();
        let total = body.len() as u64;
        let from = offset as u64;
        let frame = if whole {
            Frame::Update { number, body: part }
        } else {
            Frame::Fragment { number, total, offset: from, part }
        }
        .encode();
        if end < body.len() {
            self.begun = Some((compress_over, end));
            return Some(frame);
        }
        self.left.pop_front();
        // The peer has the updates that an answer covers only after the last update of the answer.
        let covers = if self.left.is_empty() { self.covers } else { 0 };
        sent.note(body.len(), covers);
        Some(frame)
    }
}
