//! A span: consecutive ops of one client that stand beside each other in a sequence.

use crate::document::guard::yrs_update::Content;

/// An op, by client and clock.
pub type OpId = (u64, u32);

/// Consecutive ops of one client that stand beside each other in a sequence, and that are all
/// deleted or all not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The client.
    pub client: u64,
    /// The clock of the first op.
    pub clock: u32,
    /// The number of ops. Each op of a text is one UTF-16 code unit, or a mark.
    pub len: u32,
    /// The op before the first op when that was made. The origin of each other op is the op before
    /// it in the span.
    pub origin: Option<OpId>,
    /// The op after each op when that was made.
    pub right_origin: Option<OpId>,
    /// The kind of content. If the span is deleted, it does not matter.
    pub content: Content,
    /// Whether the ops are deleted.
    pub deleted: bool,
}

impl Span {
    /// The units that the span adds to the length of the sequence.
    pub fn visible(&self) -> u32 {
        if self.deleted || self.content == Content::Mark { 0 } else { self.len }
    }

    /// The clock after the last op.
    pub fn end(&self) -> u32 {
        self.clock + self.len
    }

    /// The last op.
    pub fn last(&self) -> OpId {
        (self.client, self.end() - 1)
    }

    /// The part from this op on. `offset` is less than the length.
    pub fn part_from(&self, offset: u32) -> Self {
        if offset == 0 {
            return *self;
        }
        let clock = self.clock + offset;
        let origin = Some((self.client, clock - 1));
        Self { clock, len: self.len - offset, origin, ..*self }
    }

    /// Whether the two spans, which stand beside each other, could be one.
    pub fn continues_with(&self, next: &Self) -> bool {
        self.client == next.client
            && self.end() == next.clock
            && next.origin == Some(self.last())
            && self.right_origin == next.right_origin
            && self.deleted == next.deleted
            && (self.deleted || self.content == next.content)
    }
}
