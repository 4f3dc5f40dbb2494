//! A key may occur only once, also in several attributes.

#[derive(exostate::State, Clone)]
#[state(node = First, rename_all = "camelCase", node = Second)]
struct Board {
    #[state(rename = "name")]
    #[state(rename = "heading")]
    title: String,
    #[state(skip, skip)]
    cached: u32,
}

fn main() {}
