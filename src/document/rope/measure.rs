//! Measures text in three units, and translates positions between these units within one leaf.

use std::ops::{Add, AddAssign};

/// The number of bytes that are counted at once if the text is not ASCII.
const STRIDE_BYTES: usize = 64;

/// The length of a text in bytes of UTF-8, in Unicode scalar values and in UTF-16 code units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) bytes: usize,
    pub(super) chars: usize,
    pub(super) utf16: usize,
}

impl Size {
    /// Measures a text. O(bytes), several bytes per CPU cycle.
    pub(super) fn of(text: &str) -> Self {
        let bytes = text.len();
        if text.is_ascii() {
            return Self { bytes, chars: bytes, utf16: bytes };
        }
        let mut chars = 0;
        let mut astral = 0;
        for stride in text.as_bytes().chunks(STRIDE_BYTES) {
            chars += count(stride, starts_char);
            astral += count(stride, starts_astral);
        }
        Self { bytes, chars, utf16: chars + astral }
    }
}

impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            chars: self.chars + other.chars,
            utf16: self.utf16 + other.utf16,
        }
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// The unit of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Chars,
    Utf16,
}

impl Unit {
    /// The length in this unit.
    pub(super) fn of(self, size: Size) -> usize {
        match self {
            Self::Bytes => size.bytes,
            Self::Chars => size.chars,
            Self::Utf16 => size.utf16,
        }
    }
}

/// The size of the longest prefix of `text` (made of whole chars) that is at most `position` long
/// in `unit`.
pub(super) fn prefix(text: &str, size: Size, unit: Unit, position: usize) -> Size {
    if position >= unit.of(size) {
        return size;
    }
    if size.bytes == size.chars {
        return Size { bytes: position, chars: position, utf16: position };
    }
    let mut seen = Size::default();
    for stride in text.as_bytes().chunks(STRIDE_BYTES) {
        let chars = count(stride, starts_char);
        let next =
            seen + Size { bytes: stride.len(), chars, utf16: chars + count(stride, starts_astral) };
        if unit.of(next) > position {
            break;
        }
        seen = next;
    }
    // The last stride may have ended inside a char. Then step back to the start of this char and
    // take it out of the counts.
    while !text.is_char_boundary(seen.bytes) {
        seen.bytes -= 1;
        if text.is_char_boundary(seen.bytes) {
            let astral = text.as_bytes().get(seen.bytes).is_some_and(|byte| starts_astral(*byte));
            seen.chars -= 1;
            seen.utf16 -= 1 + usize::from(astral);
        }
    }
    for char in text[seen.bytes..].chars() {
        let next = seen + Size { bytes: char.len_utf8(), chars: 1, utf16: char.len_utf16() };
        if unit.of(next) > position {
            break;
        }
        seen = next;
    }
    seen
}

/// The last char boundary at or before `byte`.
pub(super) fn floor_boundary(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}

fn starts_char(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

fn starts_astral(byte: u8) -> bool {
    byte >= 0xF0
}

/// Counts the bytes that pass the test. It counts in a `u8`, because the compiler turns that into
/// vector code. A stride is shorter than 256 bytes, so the count fits.
#[inline(always)]
fn count(stride: &[u8], test: impl Fn(u8) -> bool) -> usize {
    usize::from(stride.iter().fold(0u8, |sum, byte| sum.wrapping_add(u8::from(test(*byte)))))
}
