//! Two fields or two variants cannot have the same name in the document.

#[derive(exostate::State, Clone)]
struct Renamed {
    title: String,
    #[state(rename = "title")]
    heading: String,
}

#[derive(exostate::State, Clone)]
#[state(rename_all = "lowercase")]
struct Lower {
    due_day: u32,
    dueday: u32,
}

#[derive(exostate::State, Clone)]
struct Pair(#[state(rename = "1")] u32, u32);

#[derive(exostate::State, Clone)]
#[state(rename_all = "lowercase")]
enum Shape {
    #[default]
    Nothing,
    #[state(rename = "nothing")]
    Circle {
        radius: f64,
        #[state(rename = "radius")]
        diameter: f64,
    },
}

fn main() {}
