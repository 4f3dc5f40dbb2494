//! Keys in places where they are not allowed.

#[derive(exostate::State, Clone)]
#[state(rename = "x", default, skip)]
struct Board {
    #[state(crate = "exostate", node = Name, bound = "", rename_all = "camelCase", transparent)]
    title: String,
}

#[derive(exostate::State, Clone)]
#[state(transparent)]
enum Shape {
    #[state(default, skip)]
    Nothing,
}

fn main() {}
