//! Names in the document need no escaping.

#[derive(exostate::State, Clone)]
struct Board {
    #[state(rename = "a/b")]
    slash: u32,
    #[state(rename = "@position")]
    at: u32,
    #[state(rename = "")]
    empty: u32,
    größe: u32,
}

#[derive(exostate::State, Clone)]
#[state(rename_all = "camelCase")]
enum Shape {
    #[state(default, rename = "no thing")]
    Nothing,
    __,
}

fn main() {}
