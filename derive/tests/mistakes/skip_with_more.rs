//! A field that is skipped has neither a name nor a default of its own.

#[derive(exostate::State, Clone)]
struct Board {
    #[state(skip, rename = "cache")]
    cached: u32,
    #[state(skip, default = 7)]
    lucky: u32,
}

fn main() {}
