//! Walks a yrs or Yjs update in encoding v1 and reports its parts to a [`Visitor`].
//!
//! An update is a list of clients, each with consecutive blocks on that client's clock, followed by
//! a set of deleted ranges. The walk follows `Update::decode` of yrs 0.28 field by field. It
//! refuses updates that break the decoder or the integration of yrs; a comment at each refusal
//! gives the reason. It also refuses an update in encoding v2, because such an update reads as an
//! empty v1 update with more bytes behind it.

mod split;

pub use split::split;

use super::{ByteReader, GuardError, at_most};
use crate::document::limits::Limits;
use std::collections::BTreeSet;
use std::ops::Range;

/// The largest client id: 53 bits, as Yjs keeps ids in a JavaScript number.
const CLIENT_MAX: u64 = (1 << 53) - 1;
/// One past the last clock. yrs subtracts clocks as `i32`.
const CLOCK_END_MAX: u64 = i32::MAX as u64;
/// The most skips in a row. yrs passes over them recursively when it merges pending updates. An
/// honest update has one skip, rarely a few.
const SKIPS_IN_A_ROW_MAX: u32 = 64;

/// The first byte of a block holds these flags and the kind of content.
pub const HAS_ORIGIN: u8 = 0x80;
pub const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_PARENT_SUB: u8 = 0x20;
const UNUSED_BIT: u8 = 0x10;
pub const KIND: u8 = 0x0f;
/// The byte before the name of a root type, if a block has no origins.
pub const NAMED_PARENT: u8 = 1;

const GC: u8 = 0;
const DELETED: u8 = 1;
const JSON: u8 = 2;
pub const BINARY: u8 = 3;
pub const STRING: u8 = 4;
const EMBED: u8 = 5;
const FORMAT: u8 = 6;
const TYPE: u8 = 7;
pub const ANY: u8 = 8;
const DOC: u8 = 9;
const SKIP: u8 = 10;
const MOVE: u8 = 11;

/// A block of an update. It covers `len` clocks from `clock` on.
#[derive(Clone, Debug)]
pub struct Block {
    /// The client to whose clock the block belongs.
    pub client: u64,
    /// The first clock of the block.
    pub clock: u32,
    /// The number of clocks of the block.
    pub len: u32,
    /// The kind of content.
    pub content: Content,
    /// The op directly before the block when it was made, by client and clock.
    pub origin: Option<(u64, u32)>,
    /// The op directly after the block when it was made, by client and clock.
    pub right_origin: Option<(u64, u32)>,
    /// The number of values in the block, including nested ones.
    pub values: u64,
    /// The position of the block in the bytes of the update.
    pub bytes: Range<usize>,
    /// The position at which the content of the block begins.
    pub content_at: usize,
}

/// The kind of content of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// None: the block was garbage-collected, or it is a tombstone.
    Gone,
    /// Text.
    Text,
    /// A mark on text.
    Mark,
    /// Plain values.
    Values,
    /// An embedded object or a shared type.
    Other,
}

impl Content {
    fn of(info: u8) -> Self {
        match info & KIND {
            GC | DELETED => Self::Gone,
            STRING => Self::Text,
            FORMAT => Self::Mark,
            BINARY | ANY => Self::Values,
            _ => Self::Other,
        }
    }
}

/// Receives the parts of an update in the order of its bytes. If the walk fails, everything that it
/// reported before is invalid.
pub trait Visitor {
    /// A root type is the parent of the next block.
    fn root(&mut self, name: &str) {
        let _ = name;
    }

    /// The next block is under a key of its parent.
    fn key(&mut self, name: &str) {
        let _ = name;
    }

    /// The update holds a block. The walk has already reported the ops and names to which the block
    /// refers.
    fn block(&mut self, block: Block) {
        let _ = block;
    }

    /// The update holds a block without content, which yrs drops. The walk has reported the names
    /// to which the block refers.
    fn empty_block(&mut self) {}

    /// The update holds a mark on text.
    fn mark(&mut self) {}

    /// The update holds text with characters of two UTF-16 code units.
    fn surrogates(&mut self) {}

    /// The update has a hole: no block for `len` clocks from `clock` on.
    fn skip(&mut self, client: u64, clock: u32, len: u32) {
        let _ = (client, clock, len);
    }

    /// The next block refers to the op with this id as its origin, its right origin or its parent.
    fn needs(&mut self, client: u64, clock: u32) {
        let _ = (client, clock);
    }

    /// The update deletes `len` clocks from `clock` on.
    fn deletes(&mut self, client: u64, clock: u32, len: u32) {
        let _ = (client, clock, len);
    }
}

impl Visitor for () {}

/// Walks one whole update.
///
/// # Errors
///
/// The bytes are not an update in encoding v1, no honest replica writes them, or they exceed a
/// limit.
pub fn walk(bytes: &[u8], limits: &Limits, visitor: &mut dyn Visitor) -> Result<(), GuardError> {
    if bytes.len() > limits.bytes_max() {
        return Err(GuardError::TooLarge { len: bytes.len(), max: limits.bytes_max() });
    }
    let mut walk = Walk {
        reader: ByteReader::new(bytes, 0),
        limits,
        visitor,
        origins: [None; 2],
        content_at: 0,
        blocks: 0,
        values: 0,
        types: 0,
    };
    walk.clients()?;
    walk.delete_set()?;
    if walk.reader.is_empty() { Ok(()) } else { walk.reader.malformed("bytes after the update") }
}

struct Walk<'a> {
    reader: ByteReader<'a>,
    limits: &'a Limits,
    visitor: &'a mut dyn Visitor,
    /// The origin and the right origin of the current block.
    origins: [Option<(u64, u32)>; 2],
    /// The position at which the content of the current block begins.
    content_at: usize,
    blocks: u64,
    values: u64,
    types: u64,
}

impl Walk<'_> {
    fn clients(&mut self) -> Result<(), GuardError> {
        let at = self.reader.at();
        // A section takes at least 5 bytes: a count, a client, a clock and a block of two bytes.
        let count = self.reader.count("clients", 5)?;
        at_most(at, "clients", count, self.limits.clients_max() as u64)?;
        let mut last = None;
        for _ in 0..count {
            let at = self.reader.at();
            let client = self.section()?;
            // Both yrs and Yjs write the highest client first. In yrs, two sections of one client
            // give a list of blocks that is out of order, and its search in that list fails.
            if last.is_some_and(|last| client >= last) {
                return Err(GuardError::Malformed { at, what: "clients that do not descend" });
            }
            last = Some(client);
        }
        Ok(())
    }

    fn section(&mut self) -> Result<u64, GuardError> {
        let at = self.reader.at();
        let count = self.reader.count("blocks", 2)?;
        self.blocks = self.blocks.saturating_add(count);
        at_most(at, "blocks", self.blocks, self.limits.blocks_max() as u64)?;
        let client = self.client()?;
        let mut clock = self.clock()?;
        let mut skips = 0u32;
        let mut real = false;
        for _ in 0..count {
            let at = self.reader.at();
            let values = self.values;
            let (info, len) = self.block(client, clock)?;
            let end = u64::from(clock) + u64::from(len);
            if end > CLOCK_END_MAX {
                return Err(GuardError::Malformed { at, what: "a clock that overflows" });
            }
            match info {
                SKIP => {
                    skips += 1;
                    at_most(at, "skips in a row", u64::from(skips), u64::from(SKIPS_IN_A_ROW_MAX))?;
                    self.visitor.skip(client, clock, len);
                }
                // yrs drops an empty string or list.
                _ if len == 0 => self.visitor.empty_block(),
                info => {
                    (skips, real) = (0, true);
                    let content = Content::of(info);
                    let values = self.values - values;
                    let bytes = at..self.reader.at();
                    let [origin, right_origin] = self.origins;
                    self.visitor.block(Block {
                        client,
                        clock,
                        len,
                        content,
                        origin,
                        right_origin,
                        values,
                        bytes,
                        content_at: self.content_at,
                    });
                }
            }
            clock = u32::try_from(end).unwrap_or(u32::MAX);
        }
        // yrs steps over clients without blocks recursively.
        if real {
            Ok(client)
        } else {
            Err(GuardError::Malformed { at, what: "a client without blocks" })
        }
    }

    /// Reads a block. Returns its info byte and its length in clocks.
    fn block(&mut self, client: u64, clock: u32) -> Result<(u8, u32), GuardError> {
        let at = self.reader.at();
        let info = self.reader.byte()?;
        self.origins = [None; 2];
        let len = match info {
            GC | SKIP => match self.length()? {
                0 => return Err(GuardError::Malformed { at, what: "a block without length" }),
                len => len,
            },
            info => {
                // A block with an origin or a right origin takes the key of that op, and its own
                // flag for a key is ignored.
                let beside = info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) != 0;
                let keyed = self.place(info, client, clock)? && !beside;
                self.content_at = self.reader.at();
                self.content(at, info & KIND, keyed)?
            }
        };
        Ok((info, len))
    }

    /// Reads the place of an item: its origins, or else its parent. Returns whether the item is
    /// under a key, as far as the bytes tell.
    fn place(&mut self, info: u8, client: u64, clock: u32) -> Result<bool, GuardError> {
        if info & UNUSED_BIT != 0 {
            return self.reader.malformed("an unknown flag");
        }
        if info & HAS_ORIGIN != 0 {
            self.origins[0] = Some(self.id(client, clock)?);
        }
        if info & HAS_RIGHT_ORIGIN != 0 {
            self.origins[1] = Some(self.id(client, clock)?);
        }
        if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) != 0 {
            return Ok(info & HAS_PARENT_SUB != 0);
        }
        match self.reader.byte()? {
            0 => drop(self.id(client, clock)?),
            NAMED_PARENT => {
                let name = self.reader.name(self.limits.name_bytes_max())?;
                self.visitor.root(name);
            }
            _ => return self.reader.malformed("an unknown kind of parent"),
        }
        if info & HAS_PARENT_SUB != 0 {
            let name = self.reader.name(self.limits.name_bytes_max())?;
            self.visitor.key(name);
        }
        Ok(info & HAS_PARENT_SUB != 0)
    }

    /// Reads the content of an item. Returns its length in clocks.
    fn content(&mut self, at: usize, kind: u8, keyed: bool) -> Result<u32, GuardError> {
        match kind {
            DELETED => match self.length()? {
                0 => Err(GuardError::Malformed { at, what: "a block without length" }),
                len => Ok(len),
            },
            // yrs reads one string more than it writes, so it misreads all bytes after it.
            JSON => Err(GuardError::Unsupported { at, what: "content as a list of JSON texts" }),
            BINARY => self.reader.buffer().map(|_| 1),
            STRING => {
                let text = self.reader.string()?;
                let (units, chars) = text
                    .chars()
                    .fold((0, 0), |(units, chars), char| (units + char.len_utf16(), chars + 1));
                if units != chars {
                    self.visitor.surrogates();
                }
                u32::try_from(units)
                    .map_err(|_| GuardError::Malformed { at, what: "a text that is too long" })
            }
            EMBED => self.json().map(|()| 1),
            // A mark belongs in the sequence of a text. As the value of a key it has no meaning,
            // and no code reads it.
            FORMAT if keyed => Err(GuardError::Malformed { at, what: "a mark under a key" }),
            FORMAT => {
                self.visitor.mark();
                self.reader.name(self.limits.name_bytes_max())?;
                self.json().map(|()| 1)
            }
            TYPE => self.type_ref().map(|()| 1),
            ANY => {
                let count = self.reader.count("values", 1)?;
                for _ in 0..count {
                    self.any(0)?;
                }
                u32::try_from(count)
                    .map_err(|_| GuardError::Malformed { at, what: "a list that is too long" })
            }
            DOC => Err(GuardError::Unsupported { at, what: "a document within a document" }),
            MOVE => Err(GuardError::Unsupported { at, what: "a moved range" }),
            _ => Err(GuardError::Malformed { at, what: "an unknown kind of content" }),
        }
    }

    fn type_ref(&mut self) -> Result<(), GuardError> {
        let at = self.reader.at();
        self.types += 1;
        at_most(at, "nested types", self.types, self.limits.nested_types_max() as u64)?;
        match self.reader.byte()? {
            // An array, a map, a text, an XML fragment or an XML text.
            0 | 1 | 2 | 4 | 6 => Ok(()),
            // The name of an XML element follows.
            3 => self.reader.name(self.limits.name_bytes_max()).map(drop),
            // Yjs writes a name after it that yrs does not read.
            5 => Err(GuardError::Unsupported { at, what: "an XML hook" }),
            7 => Err(GuardError::Unsupported { at, what: "a weak link" }),
            9 => Err(GuardError::Unsupported { at, what: "a document within a document" }),
            _ => Err(GuardError::Malformed { at, what: "an unknown type" }),
        }
    }

    fn any(&mut self, depth: usize) -> Result<(), GuardError> {
        let at = self.reader.at();
        self.value(at)?;
        match self.reader.byte()? {
            // Undefined, null, true, false.
            127 | 126 | 121 | 120 => Ok(()),
            125 => self.signed(),
            124 => self.reader.take(4).map(drop),
            123 | 122 => self.reader.take(8).map(drop),
            119 => self.reader.string().map(drop),
            116 => self.reader.buffer().map(drop),
            tag @ (118 | 117) => {
                if depth >= self.limits.nesting_max() {
                    return Err(GuardError::TooDeep { at, max: self.limits.nesting_max() });
                }
                let keyed = tag == 118;
                let count = self.reader.count("values", if keyed { 2 } else { 1 })?;
                for _ in 0..count {
                    if keyed {
                        self.reader.name(self.limits.name_bytes_max())?;
                    }
                    self.any(depth + 1)?;
                }
                Ok(())
            }
            _ => Err(GuardError::Malformed { at, what: "an unknown kind of value" }),
        }
    }

    fn value(&mut self, at: usize) -> Result<(), GuardError> {
        self.values += 1;
        at_most(at, "values", self.values, self.limits.values_max() as u64)
    }

    /// Reads a value as JSON text. Its brackets and commas limit the depth and the number of
    /// values; `serde_json` checks the grammar.
    fn json(&mut self) -> Result<(), GuardError> {
        let at = self.reader.at();
        let mut depth = 0usize;
        let mut quoted = false;
        let mut escaped = false;
        self.value(at)?;
        let text = self.reader.string()?;
        for byte in text.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'[' | b'{' => {
                    depth += 1;
                    if depth > self.limits.nesting_max() {
                        return Err(GuardError::TooDeep { at, max: self.limits.nesting_max() });
                    }
                    self.value(at)?;
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b',' => self.value(at)?,
                _ => {}
            }
        }
        // yrs would find invalid JSON only after it has applied half of the update.
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map(drop)
            .map_err(|_| GuardError::Malformed { at, what: "JSON" })
    }

    /// Reads lib0's signed number: the first byte has a sign and six bits, each other byte has
    /// seven bits. The length is limited, because yrs shifts without a check.
    fn signed(&mut self) -> Result<(), GuardError> {
        for _ in 0..9 {
            if self.reader.byte()? & 0x80 == 0 {
                return Ok(());
            }
        }
        self.reader.malformed("a number of more than 62 bits")
    }

    fn client(&mut self) -> Result<u64, GuardError> {
        let at = self.reader.at();
        let client = self.reader.uint()?;
        if client > CLIENT_MAX {
            Err(GuardError::Malformed { at, what: "a client of more than 53 bits" })
        } else {
            Ok(client)
        }
    }

    fn clock(&mut self) -> Result<u32, GuardError> {
        let at = self.reader.at();
        let clock = self.reader.uint()?;
        if clock >= CLOCK_END_MAX {
            return Err(GuardError::Malformed { at, what: "a clock that overflows" });
        }
        u32::try_from(clock)
            .map_err(|_| GuardError::Malformed { at, what: "a clock that overflows" })
    }

    /// Reads a length in clocks. It must fit in a `u32`.
    fn length(&mut self) -> Result<u32, GuardError> {
        let at = self.reader.at();
        u32::try_from(self.reader.uint()?)
            .map_err(|_| GuardError::Malformed { at, what: "a length that overflows" })
    }

    /// Reads the id of an op to which a block of `client` at `clock` refers.
    fn id(&mut self, client: u64, clock: u32) -> Result<(u64, u32), GuardError> {
        let at = self.reader.at();
        let other = self.client()?;
        let other_clock = self.clock()?;
        // Such a block would stay pending forever, because it depends on itself or on a later
        // block of the same client.
        if other == client && other_clock >= clock {
            return Err(GuardError::Malformed {
                at,
                what: "a block that refers to itself or a later one",
            });
        }
        self.visitor.needs(other, other_clock);
        Ok((other, other_clock))
    }

    fn delete_set(&mut self) -> Result<(), GuardError> {
        let at = self.reader.at();
        let count = self.reader.count("clients with deletions", 2)?;
        at_most(at, "clients with deletions", count, self.limits.clients_max() as u64)?;
        let mut seen = BTreeSet::new();
        let mut ranges = 0u64;
        for _ in 0..count {
            let at = self.reader.at();
            let client = self.client()?;
            // Of two entries for one client, yrs keeps only the last. The order of clients differs
            // between implementations, so it is not checked.
            if !seen.insert(client) {
                return Err(GuardError::Malformed { at, what: "a client twice" });
            }
            let at = self.reader.at();
            let count = self.reader.count("deleted ranges", 2)?;
            ranges = ranges.saturating_add(count);
            at_most(at, "deleted ranges", ranges, self.limits.blocks_max() as u64)?;
            self.ranges(client, count)?;
        }
        Ok(())
    }

    fn ranges(&mut self, client: u64, count: u64) -> Result<(), GuardError> {
        let mut reached = 0;
        for _ in 0..count {
            let at = self.reader.at();
            let clock = self.clock()?;
            let len = self.length()?;
            let end = u64::from(clock) + u64::from(len);
            // yrs assumes without a check that the ranges are sorted and do not overlap.
            if len == 0 || end > CLOCK_END_MAX || u64::from(clock) < reached {
                return Err(GuardError::Malformed {
                    at,
                    what: "a deleted range that is empty, overflows or is out of order",
                });
            }
            reached = end;
            self.visitor.deletes(client, clock, len);
        }
        Ok(())
    }
}
