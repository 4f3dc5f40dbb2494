//! The message lists the known cases.

#[derive(exostate::State, Clone)]
#[state(rename_all = "camelcase")]
struct Board {
    due_day: u32,
}

fn main() {}
