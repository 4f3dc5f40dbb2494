//! Promise: reading any bytes as a foreign document, any text as a mapping and any text as the JSON
//! of a document never panics, and what is read can be written.
#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

mod input;

use exostate::import::{Mapping, Source};
use exostate::{Document, Limits, Options, Yrs};
use libfuzzer_sys::fuzz_target;

/// A mapping for whatever is read: nested collections of every kind.
const MAPPING: &str = "
    * -> map roots
    */* -> movable-list roots/*/items
    */* -> text roots/*/items/*
    */*/* -> map roots/*/items/*/more
";

fuzz_target!(|data: (&[u8], &str)| {
    input::let_backends_panic();
    let (bytes, text) = data;
    if let Ok(document) = Document::<Yrs>::from_json(text) {
        let json = document.to_json();
        let again = Document::<Yrs>::from_json(&json).expect("what was written is read");
        assert_eq!((again.digest(), again.to_json()), (document.digest(), json));
    }
    let mapping = text.parse::<Mapping>();
    if let Ok(source) = Source::read(bytes, &Limits::trusted()) {
        for mapping in [MAPPING.parse::<Mapping>(), mapping].into_iter().flatten() {
            let imported = mapping.import_document::<Yrs>(&source, Options::default());
            imported.expect("what is read can be imported");
        }
    }
});
