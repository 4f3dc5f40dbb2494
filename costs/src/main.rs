//! Hot operations for callgrind to count, one operation in each run: `.ci/costs` runs them all and
//! compares the counts with `costs/baseline.json`.
//!
//! Callgrind counts [`measured`] and everything that it calls. Everything is seeded: replica ids,
//! element ids and sizes are fixed. So two runs differ only by the hashers of the standard library.

use std::hint::black_box;
use std::time::Duration;

use exostate::{
    Automerge, Backend, Document, List, Map, MovableList, Options, ReplicaId, State, Store, Text,
    UndoOptions, Version, Yrs,
};
use exostate_sync::{Config, Role, Session};

/// A card of a board.
#[derive(State, Clone, Debug, PartialEq)]
pub struct Card {
    title: String,
    done: bool,
}

/// The state that the operations work on.
#[derive(State, Clone, Debug, PartialEq)]
pub struct Board {
    number: i64,
    cards: Map<u64, Card>,
    order: MovableList<String>,
    steps: List<i64>,
    body: Text,
}

/// The number of times that a cheap operation is repeated in a run, so that its own cost dominates.
const REPEATED: i64 = 200;

type Operation = Box<dyn FnMut(i64)>;

/// Runs an operation `times` times. Callgrind counts in this function.
#[inline(never)]
fn measured(operation: &mut dyn FnMut(i64), times: i64) {
    (0..times).for_each(operation);
}

fn options(id: u64) -> Options {
    // A fixed clock: the counts must not depend on the machine.
    let clock = || std::time::UNIX_EPOCH;
    Options::new().with_replica(ReplicaId::from_bits(id)).with_clock(clock)
}

fn empty<B: Backend>(id: u64) -> Store<Board, B> {
    Store::with_options(options(id))
}

/// A board with `size` cards, `size` entries in each list, and about `size` characters of text.
fn board<B: Backend>(id: u64, size: u64) -> Store<Board, B> {
    let store = empty::<B>(id);
    let filled = store.change(|board| {
        for number in 0..size {
            let card = Card { title: format!("card {number}"), done: false };
            board.cards().insert(number, card)?;
            board.order().push(format!("entry {number}"))?;
            board.steps().push(number as i64)?;
        }
        board.body().push_str(&"lorem ipsum ".repeat(size as usize / 12))
    });
    filled.expect("it can be written");
    // The board is saved and opened again. Then the order of the keys in their index does not
    // depend on the hashers.
    Store::open_with(&store.save(), options(id + 100)).expect("a document")
}

fn local<B: Backend>(size: u64) -> Operation {
    let store = board::<B>(1, size);
    Box::new(move |round| {
        let key = round as u64 % size;
        let title = format!("title {round}");
        let changed = store.change(|board| board.cards().get(key).title().set(title));
        changed.expect("it can be written");
    })
}

fn remote<B: Backend>(size: u64) -> Operation {
    let store = board::<B>(1, size);
    let other = Store::<Board, B>::open_with(&store.save(), options(2)).expect("a document");
    let sent = other.local_updates();
    let updates: Vec<_> = (0..REPEATED)
        .map(|round| {
            let key = round as u64 % size;
            let title = format!("title {round}");
            let changed = other.change(|board| board.cards().get(key).title().set(title));
            changed.expect("it can be written");
            sent.try_next().expect("an update")
        })
        .collect();
    Box::new(move |round| {
        store.apply(&updates[round as usize]).expect("it fits");
    })
}

fn text_local(size: u64) -> Operation {
    let store = board::<Yrs>(1, size);
    let middle = store.view().body.len() / 2;
    Box::new(move |round| {
        let at = middle + round as usize;
        store.change(|board| board.body().insert(at, "x")).expect("it can be written");
    })
}

fn text_remote(size: u64) -> Operation {
    let store = board::<Yrs>(1, size);
    let other = Store::<Board>::open_with(&store.save(), options(2)).expect("a document");
    let sent = other.local_updates();
    let middle = store.view().body.len() / 2;
    let updates: Vec<_> = (0..REPEATED)
        .map(|round| {
            let at = middle + round as usize;
            other.change(|board| board.body().insert(at, "x")).expect("it can be written");
            sent.try_next().expect("an update")
        })
        .collect();
    Box::new(move |round| {
        store.apply(&updates[round as usize]).expect("it fits");
    })
}

fn list_local(size: u64) -> Operation {
    let store = board::<Yrs>(1, size);
    Box::new(move |round| {
        store
            .change(|board| board.order().push(format!("more {round}")).map(drop))
            .expect("it fits");
    })
}

fn open<B: Backend>(size: u64) -> Operation {
    let saved = board::<B>(1, size).save();
    Box::new(move |_| {
        let opened = Store::<Board, B>::open_with(&saved, options(2)).expect("a document");
        black_box(opened);
    })
}

fn selector(size: u64) -> Operation {
    let store = board::<Yrs>(1, size);
    let title = store.select(|board| board.cards().get(7_u64).title().value().cloned());
    let length = store.select({
        let title = title.clone();
        move |_| title.get().as_ref().as_ref().map_or(0, String::len)
    });
    Box::new(move |round| {
        let title = "x".repeat(1 + round as usize % 7);
        store.change(|board| board.cards().get(7_u64).title().set(title)).expect("it fits");
        black_box(length.get());
    })
}

fn undo(size: u64) -> Operation {
    let store = board::<Yrs>(1, size);
    let manager = store.undo_manager(UndoOptions::new().with_window(Duration::ZERO));
    Box::new(move |round| {
        store.change(|board| board.number().set(round + 1)).expect("it can be written");
        black_box(manager.undo().expect("it can be undone"));
    })
}

fn edit_by_path(size: u64) -> Operation {
    let document = board::<Yrs>(1, size).document();
    Box::new(move |round| {
        document.edit(|edit| edit.set("number", round + 1)).expect("it can be written");
    })
}

/// Two sessions in sync. Each round makes a change here, and ends when the change has arrived there
/// and is acknowledged.
fn round_trip(size: u64) -> Operation {
    let here = board::<Yrs>(1, size).document();
    let there = Document::<Yrs>::open_with(&here.save(), options(2)).expect("a document");
    let now = Duration::ZERO;
    let begin =
        |document: &Document, role| Session::new(Config::default(), role, "board", document, now);
    let left = begin(&here, Role::Initiator);
    let right = begin(&there, Role::Responder);
    let mut sides = [(left, here.clone()), (right, there)];
    talk(&mut sides);
    assert!(sides.iter().all(|(session, _)| session.is_live()), "the sessions are not in sync");
    Box::new(move |round| {
        let version = here.version();
        here.edit(|edit| edit.set("number", round + 1)).expect("it can be written");
        let updates = here.updates_since(&version).expect("its own version");
        for update in updates {
            sides[0].0.handle_update(&update, exostate_sync::Origin::Local);
        }
        sides[0].0.settle(&sides[0].1);
        talk(&mut sides);
    })
}

/// Passes frames between the two sessions until neither session has a frame to send.
fn talk(sides: &mut [(Session, Document); 2]) {
    let now = Duration::ZERO;
    loop {
        let outgoing = sides.each_mut().map(|(session, _)| {
            std::iter::from_fn(|| session.poll_transmit(now)).collect::<Vec<_>>()
        });
        if outgoing.iter().all(Vec::is_empty) {
            return;
        }
        for (from, frames) in outgoing.iter().enumerate() {
            let (session, document) = &mut sides[1 - from];
            frames.iter().for_each(|frame| session.handle_bytes(now, frame, document));
            session.settle(document);
            while session.poll_event().is_some() {}
        }
    }
}

/// Computes everything that an empty replica lacks, as pieces.
fn catch_up(size: u64) -> Operation {
    let store = board::<Yrs>(1, size);
    Box::new(move |_| {
        black_box(store.updates_since(&Version::empty()).expect("its own version"));
    })
}

/// The name of an operation, the function that prepares it, and how many times it is repeated.
type Measure = (&'static str, fn() -> Operation, i64);

const MEASURES: [Measure; 18] = [
    ("yrs: change a field, 10 cards", || local::<Yrs>(10), REPEATED),
    ("yrs: change a field, 1,000 cards", || local::<Yrs>(1_000), REPEATED),
    ("yrs: apply such a change, 10 cards", || remote::<Yrs>(10), REPEATED),
    ("yrs: apply such a change, 1,000 cards", || remote::<Yrs>(1_000), REPEATED),
    ("automerge: change a field, 10 cards", || local::<Automerge>(10), REPEATED),
    ("automerge: change a field, 1,000 cards", || local::<Automerge>(1_000), REPEATED),
    ("automerge: apply such a change, 10 cards", || remote::<Automerge>(10), REPEATED),
    ("automerge: apply such a change, 1,000 cards", || remote::<Automerge>(1_000), REPEATED),
    ("yrs: type into a text, 1,000 characters", || text_local(1_000), REPEATED),
    ("yrs: apply typing, 1,000 characters", || text_remote(1_000), REPEATED),
    ("yrs: push to a movable list, 1,000 entries", || list_local(1_000), REPEATED),
    ("yrs: open, 1,000 cards", || open::<Yrs>(1_000), 5),
    ("automerge: open, 1,000 cards", || open::<Automerge>(1_000), 5),
    ("yrs: updates for an empty replica, 1,000 cards", || catch_up(1_000), 5),
    ("yrs: change, and refresh a selector, 1,000 cards", || selector(1_000), REPEATED),
    ("yrs: change and undo, 1,000 cards", || undo(1_000), REPEATED),
    ("yrs: edit by path, 1,000 cards", || edit_by_path(1_000), REPEATED),
    ("yrs: edit by path, and two sessions, 1,000 cards", || round_trip(1_000), REPEATED),
];

/// Without arguments: prints the names. With a name: runs that operation, and prints how many
/// times.
fn main() {
    let Some(wanted) = std::env::args().nth(1) else {
        MEASURES.iter().for_each(|(name, ..)| println!("{name}"));
        return;
    };
    let found = MEASURES.iter().find(|(name, ..)| *name == wanted);
    let (_, prepare, times) = found.expect("a name that is printed without arguments");
    measured(&mut *prepare(), *times);
    println!("{times}");
}
