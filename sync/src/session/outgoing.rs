//! Frames waiting to be sent. Those that say how things stand replace an older one of their kind, so the queue of an
//! honest conversation stays short; large updates are cut into fragments only as they leave.

use crate::frame::Frame;
use crate::limits::{CLOSE_MESSAGE_BYTES_MAX, FRAGMENT_BYTES};
use std::collections::VecDeque;

/// Kinds of frames of which only the newest matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Latest {
    Hello,
    Have,
    Version,
    Digest,
    Ping,
    Pong,
}

#[derive(Debug)]
enum Item {
    Latest(Latest, Vec<u8>),
    Once(Vec<u8>),
    Updates(Updates),
}

/// Updates that go out one after the other.
#[derive(Debug)]
struct Updates {
    left: VecDeque<Vec<u8>>,
    /// Bytes of the first that went out in fragments.
    sent: usize,
    /// What the peer lacks, of which nothing went out yet.
    fresh_answer: bool,
}

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    items: VecDeque<Item>,
}

impl Outgoing {
    pub(super) fn push_latest(&mut self, kind: Latest, frame: &Frame<'_>) {
        self.items.retain(|item| !matches!(item, Item::Latest(other, _) if *other == kind));
        self.items.push_back(Item::Latest(kind, frame.encode()));
    }

    pub(super) fn push_update(&mut self, update: Vec<u8>) {
        self.items.push_back(Item::Updates(Updates { left: VecDeque::from([update]), sent: 0, fresh_answer: false }));
    }

    /// What the peer lacks by the version that it announced last. It may announce as often as it likes: one answer waits.
    pub(super) fn push_answer(&mut self, updates: Vec<Vec<u8>>) {
        self.items.retain(|item| !matches!(item, Item::Updates(Updates { fresh_answer: true, .. })));
        if !updates.is_empty() {
            self.items.push_back(Item::Updates(Updates { left: updates.into(), sent: 0, fresh_answer: true }));
        }
    }

    pub(super) fn push_close(&mut self, code: u64, message: &str) {
        let mut end = message.len().min(CLOSE_MESSAGE_BYTES_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let message = message[..end].to_owned();
        self.items.push_back(Item::Once(Frame::Close { code, message }.encode()));
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn pop(&mut self, frame_bytes_max: usize) -> Option<Vec<u8>> {
        let part_max = FRAGMENT_BYTES.min(frame_bytes_max / 2);
        match self.items.pop_front()? {
            Item::Latest(_, frame) | Item::Once(frame) => Some(frame),
            Item::Updates(mut updates) => {
                let frame = updates.next_frame(part_max);
                if !updates.left.is_empty() {
                    self.items.push_front(Item::Updates(updates));
                }
                frame
            }
        }
    }
}

impl Updates {
    /// The first update, or the next part of it. `None` where there is none.
    fn next_frame(&mut self, part_max: usize) -> Option<Vec<u8>> {
        self.fresh_answer = false;
        let update = self.left.front()?;
        if update.len() <= part_max {
            return Some(Frame::Update(&self.left.pop_front()?).encode());
        }
        let end = update.len().min(self.sent + part_max);
        let (total, offset) = (update.len() as u64, self.sent as u64);
        let frame = Frame::Fragment { total, offset, part: update.get(self.sent..end)? }.encode();
        self.sent = end;
        if end == update.len() {
            self.sent = 0;
            self.left.pop_front();
        }
        Some(frame)
    }
}
