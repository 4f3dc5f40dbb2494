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
    Update { update: Vec<u8>, sent: usize, answer: bool },
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
        self.items.push_back(Item::Update { update, sent: 0, answer: false });
    }

    /// What the peer lacks by the version that it announced last. It may announce as often as it likes: one answer waits.
    pub(super) fn push_answer(&mut self, update: Vec<u8>) {
        self.items.retain(|item| !matches!(item, Item::Update { sent: 0, answer: true, .. }));
        self.items.push_back(Item::Update { update, sent: 0, answer: true });
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
            Item::Update { update, .. } if update.len() <= part_max => Some(Frame::Update(&update).encode()),
            Item::Update { update, sent, answer } => {
                let end = update.len().min(sent + part_max);
                let (total, offset) = (update.len() as u64, sent as u64);
                let frame = Frame::Fragment { total, offset, part: &update[sent..end] }.encode();
                if end < update.len() {
                    self.items.push_front(Item::Update { update, sent: end, answer });
                }
                Some(frame)
            }
        }
    }
}
