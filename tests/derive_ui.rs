//! What `#[derive(State)]` says to a mistake, and that it stays silent where there is none.
//!
//! `TRYBUILD=overwrite cargo test --test derive_ui` writes the expected messages anew; read them before you keep them.

#[test]
fn mistakes_are_named_where_they_stand() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/fail/*.rs");
}

#[test]
fn what_is_allowed_compiles_without_a_warning() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
}
