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

/// A span in the form in which an index keeps it: it takes 44 bytes instead of 72.
#[derive(Clone, Copy, Debug)]
pub struct PackedSpan {
    client: [u32; 2],
    clock: u32,
    len: u32,
    origin: PackedOp,
    right_origin: PackedOp,
    content: Content,
    deleted: bool,
}

/// The two halves of the client, and the clock. No op has the clock `u32::MAX`; it stands for no
/// op.
#[derive(Clone, Copy, Debug)]
struct PackedOp([u32; 3]);

fn halves(client: u64) -> [u32; 2] {
    [(client >> 32) as u32, client as u32]
}

fn whole([high, low]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

impl PackedOp {
    fn new(op: Option<OpId>) -> Self {
        let (client, clock) = op.unwrap_or((0, u32::MAX));
        let [high, low] = halves(client);
        Self([high, low, clock])
    }

    fn get(self) -> Option<OpId> {
        let [high, low, clock] = self.0;
        (clock != u32::MAX).then(|| (whole([high, low]), clock))
    }
}

impl PackedSpan {
    /// Packs a span.
    pub fn new(span: &Span) -> Self {
        Self {
            client: halves(span.client),
            clock: span.clock,
            len: span.len,
            origin: PackedOp::new(span.origin),
            right_origin: PackedOp::new(span.right_origin),
            content: span.content,
            deleted: span.deleted,
        }
    }

    /// The span.
    pub fn get(&self) -> Span {
        Span {
            client: whole(self.client),
            clock: self.clock,
            len: self.len,
            origin: self.origin.get(),
            right_origin: self.right_origin.get(),
            content: self.content,
            deleted: self.deleted,
        }
    }

    /// See [`Span::visible`].
    pub fn visible(&self) -> u32 {
        if self.deleted || self.content == Content::Mark { 0 } else { self.len }
    }

    /// Changes the length.
    pub fn set_len(&mut self, len: u32) {
        self.len = len;
    }

    /// Marks the ops as deleted or not deleted.
    pub fn set_deleted(&mut self, deleted: bool) {
        self.deleted = deleted;
    }
}
