//! A to-do list with the tools of a state library: selectors that run only when a value that they
//! read has changed, an effect, undo, and a second replica that edits the list too.
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

    // Derived values. They are computed only when a value that they read was touched, and watchers
    // are called only when the result differs.
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

    // An effect: it keeps something outside the state up to date, and cleans it up.
    let _badges = store.effect(Todos::path().items().any(), |item| {
        let text = item.new().map(|item| item.text.clone());
        text.iter().for_each(|text| println!("  badge for {text}"));
        move || text.iter().for_each(|text| println!("  badge for {text} gone"))
    });

    // Changes with a label. A batch makes several of them one change.
    let milk =
        store.transaction().label("Add milk").run(|todos| todos.items().push(item("milk")))?;
    store.transaction().label("Add three").run_batch(|batch| {
        for text in ["bread", "salt", ""] {
            // A change that fails is left out. The others stay.
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

    // A second replica edits concurrently. Undo reverts the edits made here, and none of the
    // others.
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
