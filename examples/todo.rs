//! A to-do list with what a state library has: selectors that are computed only when what they read
//! has changed, an effect, undo, and a second replica that edits it too.
//!
//! `cargo run --example todo`

use std::sync::Arc;

use exostate::{ChangeError, MovableList, State, Store, UndoOptions};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Todos {
    filter: Filter,
    items: MovableList<Item>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Item {
    text: String,
    done: bool,
}

#[derive(State, Clone, Copy, Debug, Default, PartialEq)]
enum Filter {
    #[default]
    #[state(default)]
    All,
    Open,
}

fn item(text: &str) -> Item {
    Item { text: text.to_owned(), done: false }
}

fn main() -> Result<(), exostate::Error> {
    let store = Store::<Todos>::new();
    let undo = store.undo_manager(UndoOptions::default());

    // Derived values: recomputed only when what they read was touched, told only when they differ.
    let open = store.select(|todos| {
        todos.items().value().map_or(0, |items| items.iter().filter(|item| !item.done).count())
    });
    let shown = store.select(|todos| {
        let filter = todos.filter().value().copied().unwrap_or_default();
        let items = todos.items().value();
        let keeps = |item: &&Item| filter == Filter::All || !item.done;
        items
            .into_iter()
            .flat_map(MovableList::iter)
            .filter(keeps)
            .map(|item| item.text.clone())
            .collect::<Vec<_>>()
    });
    let _title = open.watch(|open| println!("{} open", open.new()));

    // An effect: something outside the state that follows it, and is cleaned up.
    let _badges = store.effect(Todos::path().items().any(), |item| {
        let text = item.new().map(|item| item.text.clone());
        text.iter().for_each(|text| println!("  badge for {text}"));
        move || text.iter().for_each(|text| println!("  badge for {text} gone"))
    });

    // Changes with a label, several in one.
    let milk =
        store.transaction().label("Add milk").run(|todos| todos.items().push(item("milk")))?;
    store.transaction().label("Add three").run_batch(|batch| {
        for text in ["bread", "salt", ""] {
            // One that fails is left out; the others stay.
            let _ = batch.change(|todos| {
                if text.is_empty() {
                    Err(ChangeError::refuse("without a text"))
                } else {
                    todos.items().push(item(text))
                }
            });
        }
        Ok(())
    })?;
    store.transaction().label("Done").run(|todos| todos.items().get(milk).done().set(true))?;
    store.change(|todos| todos.filter().reconcile(&Filter::Open))?;
    assert_eq!(*shown.get(), ["bread", "salt"]);

    // Somebody else goes on meanwhile; undo takes back what was done here, and nothing of theirs.
    let theirs = store.fork()?;
    theirs.change(|todos| {
        todos.items().push(item("tea"))?;
        todos.items().get(milk).text().set("oat milk")
    })?;
    store.merge(&theirs)?;
    while let Some(undone) = undo.undo()? {
        println!("undone: {}", undone.label.as_deref().unwrap_or("a change"));
    }
    assert_eq!(*shown.get(), ["oat milk", "tea"], "the milk is theirs too");
    while undo.redo()?.is_some() {}
    assert_eq!(*shown.get(), ["bread", "salt", "tea"]);
    assert_eq!(open.get(), Arc::new(3));
    println!("everything is back, and theirs is still there");
    Ok(())
}
