//! Accessors have the visibility of their fields, so that private types stay private.

mod board {
    use exostate::State;

    #[derive(State, Clone, Debug, Default, PartialEq)]
    pub struct Board {
        pub title: String,
        pub(crate) votes: u32,
        pub(super) place: Point,
        inner: Inner,
    }

    #[derive(State, Clone, Debug, Default, PartialEq)]
    pub(crate) struct Point {
        pub(crate) x: i32,
    }

    #[derive(State, Clone, Debug, Default, PartialEq)]
    struct Inner {
        secret: String,
    }

    impl Board {
        pub(crate) fn tell(store: &exostate::Store<Self>, secret: &str) {
            store.change(|board| board.inner().secret().set(secret)).expect("it can be written");
        }

        pub(crate) fn told(&self) -> &str {
            &self.inner.secret
        }
    }
}

#[test]
fn private_types() {
    let store = exostate::Store::<board::Board>::new();
    let changed = store.change(|board| {
        board.title().set("Plan")?;
        board.votes().set(3u32)?;
        board.place().x().set(-1)
    });
    changed.expect("it can be written");
    board::Board::tell(&store, "hush");
    let view = store.view();
    assert_eq!(
        (view.title.as_str(), view.votes, view.place.x, view.told()),
        ("Plan", 3, -1, "hush")
    );
}
