//! An accessor's method has the visibility of its field. A skipped field has no method.

mod inner {
    #[derive(exostate::State, Clone)]
    pub struct Board {
        pub title: String,
        secret: String,
        #[state(skip)]
        pub cached: u32,
    }
}

fn main() {
    use exostate::State;
    let _ = inner::Board::path().title();
    let _ = inner::Board::path().secret();
    let _ = inner::Board::path().cached();
}
