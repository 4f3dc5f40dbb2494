//! The smallest possible structs.

#[derive(exostate::State, Clone)]
struct Unit;

#[derive(exostate::State, Clone)]
struct Braces {}

#[derive(exostate::State, Clone)]
struct Parens();

#[test]
fn smallest() {
    let _ = exostate::Store::<Unit>::new().view();
    let _ = exostate::Store::<Braces>::new().view();
    let _ = exostate::Store::<Parens>::new().view();
}
