//! A field of a wrong type gives one error, also if the field is used.

use std::collections::HashMap;

use exostate::{List, Map, MovableList, Set, State, Store, Text, Tree};

#[derive(Clone)]
struct NotDerived;

#[derive(State, Clone)]
struct Board {
    title: String,
    people: HashMap<String, u32>, //~
    lines: List<Text>, //~
    cards: MovableList<NotDerived>, //~
    count: usize, //~
    rest: Vec<String>, //~
}

#[derive(State, Clone)]
struct Held {
    by_name: Map<String, NotDerived>, //~
    by_weight: Map<f64, String>, //~
    weights: Set<f64>, //~
    outline: Tree<NotDerived>, //~
    lists: List<List<i32>>, //~
    maybe: Option<NotDerived>, //~
    nested: MovableList<Map<String, NotDerived>>, //~
}

#[derive(State, Clone)]
enum Shape {
    #[state(default)]
    Nothing,
    Named { name: NotDerived }, //~
    Counted(usize), //~
}

#[derive(State, Clone)]
struct Newtype(NotDerived); //~

#[derive(State, Clone)]
struct Generic<T> {
    own: T,
    other: NotDerived, //~
}

#[derive(State, Clone)]
struct Outer {
    board: Board,
    boards: MovableList<Board>,
    maybe: Option<Shape>,
    generic: Generic<String>,
}

fn main() {
    let store = Store::<Outer>::new();
    let _ = store.change(|outer| outer.board().title().set("title"));
    let _ = store.watch(Outer::path().generic().own(), |_| ());
    let _ = store.view().boards.len();
    let _ = Store::<Shape>::new().change(|shape| (*shape).set(Shape::Nothing));
}
