//! What `#[derive(State)]` says to a mistake.
//!
//! `TRYBUILD=overwrite cargo test -p exostate-derive` writes the expected messages anew; read them before you keep them.

#[test]
fn mistakes_are_named_where_they_stand() {
    trybuild::TestCases::new().compile_fail("tests/mistakes/*.rs");
}
