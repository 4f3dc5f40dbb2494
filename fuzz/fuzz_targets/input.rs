//! The input types of the fuzz targets, and helpers that damage valid bytes.
#![allow(dead_code)]

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
        let text =
            self.text.iter().map(|piece| PIECES[usize::from(*piece) % PIECES.len()]).collect();
        Op { kind: self.kind, a: self.a, b: self.b, text }
    }
}

/// Overwrites some bytes, and cuts fewer than `cut_end` bytes off the end.
pub fn damage(bytes: &mut Vec<u8>, mutations: &[(u16, u8)], cut: u16, cut_end: usize) {
    let len = bytes.len().max(1);
    for (at, value) in mutations.iter().take(8) {
        if let Some(byte) = bytes.get_mut(usize::from(*at) % len) {
            *byte = *value;
        }
    }
    bytes.truncate(len - usize::from(cut) % len.min(cut_end));
}

/// Replaces libfuzzer's panic hook, which would abort. A panic inside a backend is caught, and the
/// document is rebuilt.
pub fn let_backends_panic() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or("", |place| place.file());
        if !place.contains("yrs")
            && !place.contains("automerge")
            && !place.contains("hexane")
            && !place.contains("rustc")
        {
            eprintln!("{info}");
            std::process::abort();
        }
    }));
}
