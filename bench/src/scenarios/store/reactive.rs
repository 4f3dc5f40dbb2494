//! reactive_stores: the same change without replication, with an effect as the subscriber.
//!
//! An effect runs when the thread's executor is polled. The step includes that poll, so that the
//! effect has run when the step ends.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use any_spawner::Executor;
use anyhow::{Context, Result, ensure};
use reactive_graph::effect::Effect;
use reactive_graph::owner::Owner;
use reactive_graph::traits::{GetUntracked, Set, Track};
use reactive_stores::{Store, StoreFieldIterator};

use super::{Lane, STEPS, WARM_UP, timed_when_warm};
use crate::report::Place;
use crate::work::cards::{BoardWork, Card, Change, Edit};

#[derive(Debug, Store)]
struct Rows {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Store)]
struct Row {
    id: String,
    text: String,
    done: bool,
    points: i64,
}

impl From<&Card> for Row {
    fn from(card: &Card) -> Self {
        Self { id: card.id.clone(), text: card.text.clone(), done: card.done, points: card.points }
    }
}

/// One change after the other. A row is found by its index, which is the cheapest way. One effect
/// reads all rows.
pub fn change(work: &Rc<BoardWork>, place: Place) -> Result<Vec<Lane<'static>>> {
    Executor::init_futures_executor().context("the executor")?;
    let owner = Owner::new();
    owner.set();
    let store = Store::new(Rows { rows: work.cards.iter().map(Row::from).collect() });
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    Effect::new(move |_| {
        store.rows().track();
        black_box(counter.fetch_add(1, Ordering::Relaxed));
    });
    Executor::poll_local();
    let work = Rc::clone(work);
    let mut done = 0;
    Ok(vec![Lane::new(place, "change", move |samples| {
        let _keeps_effects = &owner;
        for (step, edit) in work.edits[done..done + WARM_UP + STEPS].iter().enumerate() {
            let before = told.load(Ordering::Relaxed);
            timed_when_warm(step, samples, || set(store, edit))?;
            ensure!(told.load(Ordering::Relaxed) == before + 1, "the effect was not told once");
        }
        done += WARM_UP + STEPS;
        for (index, expected) in work.cards_after(done) {
            let Row { id, text, done, points } = store.rows().at_unkeyed(index).get_untracked();
            let found = Card { id, text, done, points };
            ensure!(found == expected, "row {index} is {found:?}, expected {expected:?}");
        }
        Ok(())
    })])
}

/// Changes a field, and runs the effect.
fn set(store: Store<Rows>, edit: &Edit) -> Result<()> {
    let row = store.rows().at_unkeyed(edit.index);
    match &edit.change {
        Change::Text(text) => row.text().set(text.clone()),
        Change::Done(done) => row.done().set(*done),
        Change::Points(points) => row.points().set(*points),
    }
    Executor::poll_local();
    Ok(())
}
