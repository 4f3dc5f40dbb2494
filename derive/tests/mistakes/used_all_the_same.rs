//! A type with an error still implements `State`, so that its uses give no more errors.

use exostate::{State, Store, Text};

#[derive(State, Clone)]
struct Board {
    #[state(renam = "name")] //~
    title: String,
    body: Text,
}

#[derive(State, Clone)]
struct Names {
    first: String,
    #[state(rename = "first")] //~
    second: String,
}

#[derive(State, Clone)]
enum Shape { //~
    Nothing,
    Circle { radius: f64 },
}

#[derive(State, Clone)]
#[state(transparent)] //~
struct Pair {
    left: u8,
    right: u8,
}

#[derive(State, Clone)]
enum Never {} //~

#[derive(State, Clone)]
enum Clash {
    #[state(default)]
    HttpServer { port: u16 },
    HTTPServer { port: u16 }, //~
}

#[derive(State, Clone)]
struct Outer {
    board: Board,
    names: Names,
    shape: Shape,
    pair: Pair,
    never: Option<Never>,
    clash: Clash,
}

fn main() {
    let store = Store::<Outer>::new();
    let _ = store.change(|outer| {
        outer.board().title().set("title")?;
        outer.board().body().set("body")?;
        outer.names().second().set("second")?;
        outer.shape().set(Shape::Nothing)?;
        outer.shape().circle().radius().set(1.0)?;
        outer.pair().left().set(1)?;
        outer.clash().http_server().port().set(1)
    });
    let _ = store.view().names.first.len();
}
