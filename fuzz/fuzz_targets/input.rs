//! What the targets read from the fuzzer's bytes.

use arbitrary::Arbitrary;

use crate::support::Op;

/// An arbitrary edit.
#[derive(Arbitrary, Clone, Debug)]
pub struct Edit {
    kind: u8,
    a: u16,
    b: u16,
    text: [u8; 2],
}

impl Edit {
    pub fn op(&self) -> Op {
        const PIECES: [&str; 8] = ["", "a", "b", "abc", "ä€😀", "x/y~@", "\u{301}", "@position"];
        let text = self.text.iter().map(|piece| PIECES[usize::from(*piece) % PIECES.len()]).collect();
        Op { kind: self.kind, a: self.a, b: self.b, text }
    }
}
