//! Names, types and values that a macro passes to the derive have the meaning that they have at the
//! macro's call site.

use exostate::{State, Store};

macro_rules! record {
    ($name:ident { $($field:ident $key:literal: $ty:ty = $value:expr),* }) => {
        #[derive(State, Clone, Debug, PartialEq)]
        struct $name {
            $(#[state(rename = $key, default = $value)] $field: $ty,)*
            at: u32,
        }
    };
}

const FOUR: u32 = 4;

record!(Settings {
    value "a": u32 = FOUR,
    reader "b": Option<u32> = Some(FOUR + 1),
    name "c": String = "none"
});

macro_rules! choice {
    ($name:ident { $first:ident, $($variant:ident($ty:ty)),* }) => {
        #[derive(State, Clone, Debug, PartialEq)]
        enum $name {
            #[default]
            $first,
            $($variant($ty),)*
        }
    };
}

choice!(Shape { Nothing, Circle(f64), Of(Settings) });

#[test]
fn in_a_macro() {
    let expected = Settings { value: 4, reader: Some(5), name: "none".into(), at: 0 };
    assert_eq!(*Store::<Settings>::new().view(), expected);
    let store = Store::<Shape>::new();
    store.reconcile(&Shape::Circle(2.0)).expect("it can be written");
    assert_eq!(store.reread(), Shape::Circle(2.0));
}
