//! A state type owns its data.

#[derive(exostate::State, Clone)]
struct Board<'a, 'b> {
    title: &'a str,
    notes: &'b str,
}

fn main() {}
