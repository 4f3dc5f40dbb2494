//! The message lists the cases there are.

#[derive(exostate::State, Clone)]
#[state(rename_all = "camelcase")]
struct Board {
    due_day: u32,
}

fn main() {}
