//! The users of a crate that re-exports exostate can derive without naming exostate. The name of
//! the re-export does not matter.

mod engine {
    pub mod state {
        pub use exostate::*;
    }
}

/// Names of the prelude that have another meaning here.
#[allow(dead_code)]
mod shadows {
    use crate::found_elsewhere::engine::state::State;

    pub struct Option;
    pub struct Some;
    pub struct Clone;
    pub struct Default;
    pub mod core {}

    #[derive(State, std::clone::Clone)]
    #[state(crate = "crate::found_elsewhere::engine::state")]
    pub struct Board {
        pub title: String,
        #[state(default = 7)]
        pub count: u32,
        #[state(skip)]
        pub cached: u32,
    }

    #[derive(State, std::clone::Clone)]
    #[state(crate = "crate::found_elsewhere::engine::state")]
    pub enum Shape {
        #[default]
        Nothing,
        Circle {
            radius: f64,
        },
    }
}

#[test]
fn found_elsewhere() {
    let view = engine::state::Store::<shadows::Board>::new().view();
    assert_eq!((view.title.as_str(), view.count), ("", 7));
    let _ = engine::state::Store::<shadows::Shape>::new();
}
