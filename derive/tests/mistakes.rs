//! Tests of the compiler messages of `#[derive(State)]` for mistakes.
//!
//! `TRYBUILD=overwrite cargo test -p exostate-derive` writes the expected messages again. Read them
//! before you keep them.

use std::fs;
use std::path::Path;

#[test]
fn mistakes_are_named_where_they_stand() {
    trybuild::TestCases::new().compile_fail("tests/mistakes/*.rs");
}

/// One mistake gives one error: the compiler reports each line that ends in `//~` once, and no
/// other line.
#[test]
fn a_mistake_is_one_error() {
    for name in ["wrong_fields", "used_all_the_same"] {
        let file = |extension| {
            fs::read_to_string(Path::new("tests/mistakes").join(name).with_extension(extension))
                .expect("a file")
        };
        let source = file("rs");
        let said = file("stderr");
        let marked: Vec<usize> = (1..)
            .zip(source.lines())
            .filter(|(_, line)| line.ends_with("//~"))
            .map(|(number, _)| number)
            .collect();
        let lines = said.split("\nerror").map(|error| {
            let place = error.split_once(".rs:").expect("a place").1;
            place.split(':').next().and_then(|number| number.parse().ok()).expect("a line")
        });
        let mut lines: Vec<usize> = lines.collect();
        lines.sort_unstable();
        assert_eq!(lines, marked, "{name}");
    }
}

/// A message about an element type names that type, and the type to use instead.
#[test]
fn hints_name_the_type_within() {
    let said = fs::read_to_string("tests/mistakes/wrong_fields.stderr").expect("a file");
    for hint in [
        "`exostate::List<exostate::Text>` cannot hold `exostate::Text`",
        "use `MovableList<exostate::Text>`",
        "`exostate::MovableList<NotDerived>` cannot hold `NotDerived`",
        "derive `State` for `NotDerived`",
        "`Option<NotDerived>` cannot hold `NotDerived`",
        "`HashMap<String, u32>` is not a state type",
        "`usize` is not a state type",
        "instead of `usize` use `u64`",
    ] {
        assert!(said.contains(hint), "{hint}");
    }
}
