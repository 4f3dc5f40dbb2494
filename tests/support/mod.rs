//! A state with every type in it, and arbitrary edits of it. The property tests and the fuzz
//! targets share it.
#![allow(dead_code)]

#[cfg(test)]
pub mod dynamic_edits;
pub mod one_update;
#[cfg(test)]
pub mod strategy;

use exostate::{
    Backend, ChangeError, Counter, Edit, ElementId, Groups, List, Map, MovableList, Options,
    Register, ReplicaId, Set, State, Store, Text, Tree, Uuid,
};
use jiff::Timestamp;

#[derive(State, Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Everything {
    pub title: String,
    pub count: i64,
    pub big: u64,
    pub ratio: f64,
    pub flag: bool,
    pub data: Vec<u8>,
    pub owner: Option<Uuid>,
    pub when: Option<Timestamp>,
    pub pair: Register<(u8, String)>,
    pub notes: Text,
    pub tags: Set<String>,
    pub numbers: List<i64>,
    pub votes: Counter,
    pub cards: MovableList<Card>,
    pub names: MovableList<String>,
    pub people: Map<String, Person>,
    pub scores: Map<i32, i64>,
    pub outline: Tree<Item>,
    pub board: Groups<Column, Card>,
    pub chosen: Option<ElementId>,
    pub shape: Shape,
    pub settings: Settings,
    pub maybe: Option<Settings>,
}

#[derive(State, Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Card {
    pub text: String,
    pub done: bool,
    pub body: Text,
    pub labels: Set<String>,
}

#[derive(State, Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Person {
    pub name: String,
    pub age: u32,
    pub likes: Counter,
    pub bio: Text,
    pub pets: Map<String, Pet>,
}

#[derive(State, Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Pet {
    pub kind: String,
    pub legs: u8,
}

#[derive(State, Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Item {
    pub label: String,
}

#[derive(State, Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Column {
    pub title: String,
    pub limit: Option<u32>,
}

#[derive(State, Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Settings {
    pub theme: String,
    pub size: i32,
    pub flags: Map<u8, bool>,
}

#[derive(State, Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub enum Shape {
    #[state(default)]
    Nothing,
    Circle {
        radius: f64,
    },
    Label(String, Text),
}

/// One arbitrary edit. The numbers choose its kind and its place, so that any numbers are a valid
/// edit.
#[derive(Clone, Debug)]
pub struct Op {
    pub kind: u8,
    pub a: u16,
    pub b: u16,
    pub text: String,
}

/// How many kinds of edit there are.
pub const KINDS: u8 = 44;

/// A store with a replica id that the test chooses, so that runs can be repeated.
/// The replica with the id 3 has no indexes of its sequences.
pub fn store<B: Backend>(id: u64) -> Store<Everything, B> {
    let options = Options::new().with_replica(ReplicaId::from_bits(id));
    Store::with_options(options.with_sequence_indexes(id != 3))
}

fn pick<T: Copy>(items: &[T], choice: u16) -> Option<T> {
    items.get(usize::from(choice) % items.len().max(1)).copied()
}

fn key(op: &Op) -> String {
    ["a", "b", "c/d", "~@"][usize::from(op.a) % 4].to_owned()
}

fn range(len: usize, op: &Op) -> std::ops::Range<usize> {
    let start = usize::from(op.a) % (len + 1);
    start..(start + usize::from(op.b) % 6).min(len)
}

/// Applies one edit in a change. If the place of the edit does not exist, it does nothing.
pub fn apply<B: Backend>(store: &Store<Everything, B>, op: &Op) {
    store.change(|state| edit(&state, op)).unwrap_or_else(|error| panic!("{op:?}: {error}"));
}

/// Stages one edit.
pub fn edit(state: &<Everything as State>::Node<Edit<'_>>, op: &Op) -> Result<(), ChangeError> {
    match op.kind % KINDS {
        0..=8 => edit_registers(state, op),
        9..=14 => edit_text(state, op),
        15..=21 => edit_collections(state, op),
        22..=26 => edit_cards(state, op),
        27..=31 => edit_people(state, op),
        32..=37 => edit_tree_and_variants(state, op),
        _ => edit_board(state, op),
    }
}

fn edit_registers(
    state: &<Everything as State>::Node<Edit<'_>>,
    op: &Op,
) -> Result<(), ChangeError> {
    match op.kind % KINDS {
        0 => state.title().set(op.text.as_str()),
        1 => state
            .count()
            .set([0, -1, i64::MAX, i64::MIN, 1 << 40, i64::from(op.b)][usize::from(op.a) % 6]),
        2 => state
            .big()
            .set([0, u64::MAX, 1 << 63, (1 << 63) - 1, u64::from(op.b)][usize::from(op.a) % 5]),
        3 => state
            .ratio()
            .set([0.0, -0.0, 0.5, 1e300, 3.0, -9_223_372_036_854_775_808.0][usize::from(op.a) % 6]),
        4 => state.flag().set(op.a.is_multiple_of(2)),
        5 => state.data().set(op.text.clone().into_bytes()),
        6 if op.a.is_multiple_of(3) => state.owner().set(None),
        6 => state.owner().set(Uuid::from_u128(u128::from(op.b))),
        7 => state.when().set(Timestamp::from_second(i64::from(op.b)).ok()),
        _ => state.pair().set((op.text.len() as u8, op.text.clone())),
    }
}

fn edit_text(state: &<Everything as State>::Node<Edit<'_>>, op: &Op) -> Result<(), ChangeError> {
    let len = state.notes().get()?.len();
    match op.kind % KINDS {
        9 | 10 => state.notes().insert(usize::from(op.a) % (len + 1), &op.text),
        11 => state.notes().delete(range(len, op)),
        12 => state.notes().splice(range(len, op), &op.text),
        13 => state.notes().mark(
            range(len, op),
            ["bold", "link"][usize::from(op.b) % 2],
            op.text.clone(),
        ),
        _ => state.notes().unmark(range(len, op), ["bold", "link"][usize::from(op.b) % 2]),
    }
}

fn edit_collections(
    state: &<Everything as State>::Node<Edit<'_>>,
    op: &Op,
) -> Result<(), ChangeError> {
    let len = state.numbers().get()?.len();
    match op.kind % KINDS {
        15 => state.tags().insert(key(op)).map(drop),
        16 => state.tags().remove(key(op)).map(drop),
        17 => state.numbers().insert(usize::from(op.a) % (len + 1), i64::from(op.b)),
        18 if len > 0 => state.numbers().remove(usize::from(op.a) % len),
        19 if len > 0 => state.numbers().set(usize::from(op.a) % len, i64::from(op.b)),
        20 => state.votes().add(i64::from(op.b) - 100),
        21 if op.b.is_multiple_of(3) => state.scores().remove(i32::from(op.a) % 4 - 2).map(drop),
        21 => state.scores().insert(i32::from(op.a) % 4 - 2, i64::from(op.b)),
        _ => Ok(()),
    }
}

fn edit_cards(state: &<Everything as State>::Node<Edit<'_>>, op: &Op) -> Result<(), ChangeError> {
    let cards = state.cards().value()?;
    let ids: Vec<_> = cards.iter_ids().map(|(id, _)| id).collect();
    let Some(id) = pick(&ids, op.a).filter(|_| op.kind % KINDS > 22) else {
        let card = Card {
            text: op.text.clone(),
            done: op.b.is_multiple_of(2),
            body: Text::from("body"),
            labels: Set::new(),
        };
        state.names().insert(usize::from(op.a) % (state.names().len()? + 1), op.text.clone())?;
        return state.cards().insert(usize::from(op.b) % (ids.len() + 1), card).map(drop);
    };
    let card = state.cards().get(id);
    match op.kind % KINDS {
        23 => state.cards().move_to(id, usize::from(op.b) % ids.len()),
        24 if op.b.is_multiple_of(3) => state.cards().remove(id).map(drop),
        24 => card.done().set(op.b.is_multiple_of(2)),
        25 => card.text().set(op.text.as_str()),
        _ => {
            card.labels().insert(op.text.clone())?;
            card.body().push_str(&op.text)
        }
    }
}

fn edit_people(state: &<Everything as State>::Node<Edit<'_>>, op: &Op) -> Result<(), ChangeError> {
    let person = state.people().get(key(op));
    if !state.people().contains_key(key(op))? || op.kind % KINDS == 27 {
        let pets = Map::from_iter([("rex".to_owned(), Pet { kind: "dog".to_owned(), legs: 4 })]);
        let new = Person {
            name: op.text.clone(),
            age: u32::from(op.b),
            likes: Counter::new(1),
            bio: Text::from("hello"),
            pets,
        };
        return state.people().insert(key(op), new);
    }
    match op.kind % KINDS {
        28 if op.b.is_multiple_of(2) => state.people().remove(key(op)).map(drop),
        28 => person.age().set(u32::from(op.b)),
        29 => person.bio().push_str(&op.text),
        30 if op.b.is_multiple_of(2) => person.pets().remove("rex").map(drop),
        30 => person.pets().insert(op.text.clone(), Pet { kind: "cat".to_owned(), legs: 3 }),
        _ => person.likes().add(1),
    }
}

fn edit_tree_and_variants(
    state: &<Everything as State>::Node<Edit<'_>>,
    op: &Op,
) -> Result<(), ChangeError> {
    let tree = state.outline().value()?;
    let ids: Vec<_> = tree.walk().into_iter().map(|(_, id, _)| id).collect();
    match op.kind % KINDS {
        32 => state
            .outline()
            .push(
                pick(&ids, op.a).filter(|_| !op.b.is_multiple_of(3)),
                Item { label: op.text.clone() },
            )
            .map(drop),
        33 => {
            let (Some(id), parent) =
                (pick(&ids, op.a), pick(&ids, op.b).filter(|_| !op.b.is_multiple_of(4)))
            else {
                return Ok(());
            };
            // Moving a node below itself is refused. The rest of the change is not.
            drop(state.outline().move_to(id, parent, 0));
            Ok(())
        }
        34 => match pick(&ids, op.a) {
            Some(id) if op.b.is_multiple_of(3) => state.outline().remove(id).map(drop),
            Some(id) => state.outline().get(id).label().set(op.text.as_str()),
            None => Ok(()),
        },
        35 => state.shape().reconcile(&match op.a % 3 {
            0 => Shape::Nothing,
            1 => Shape::Circle { radius: f64::from(op.b) },
            _ => Shape::Label(op.text.clone(), Text::from("label")),
        }),
        36 => {
            state.settings().theme().set(op.text.as_str())?;
            state.settings().flags().insert((op.b % 3) as u8, op.a.is_multiple_of(2))
        }
        _ if op.a.is_multiple_of(3) => state.maybe().set(None),
        _ => state.maybe().set(Settings {
            theme: op.text.clone(),
            size: i32::from(op.b),
            flags: Map::new(),
        }),
    }
}

fn edit_board(state: &<Everything as State>::Node<Edit<'_>>, op: &Op) -> Result<(), ChangeError> {
    let board = state.board();
    let whole = state.board().value()?;
    let groups: Vec<_> = whole.groups().iter_ids().map(|(id, _)| id).collect();
    let grouped = whole.iter().flat_map(|(_, _, items)| items.iter_ids());
    let items: Vec<_> = grouped.chain(whole.ungrouped()).map(|(id, _)| id).collect();
    let column = || Column {
        title: op.text.clone(),
        limit: Some(op.b.into()).filter(|limit| limit % 2 == 0),
    };
    let card = || Card {
        text: op.text.clone(),
        done: false,
        body: Text::from("body"),
        labels: Set::new(),
    };
    let (Some(group), kind) = (pick(&groups, op.b), op.kind % KINDS) else {
        return board.push_group(column()).map(drop);
    };
    let len = whole.items(group).len();
    match (kind, pick(&items, op.a)) {
        (38, _) => board.insert_group(usize::from(op.a) % (groups.len() + 1), column()).map(drop),
        (39, _) | (_, None) => board.insert(group, usize::from(op.a) % (len + 1), card()).map(drop),
        (40, Some(item)) => {
            let others = len - usize::from(whole.group_of(item) == Some(group));
            board.move_to(item, group, usize::from(op.a) % (others + 1))
        }
        (41, Some(item)) if op.b.is_multiple_of(3) => board.remove(item).map(drop),
        (41, Some(item)) => board.get(item).body().push_str(&op.text),
        (42, _) if op.a.is_multiple_of(3) => board.remove_group(group).map(drop),
        (42, _) => board.move_group(group, usize::from(op.a) % groups.len()),
        (_, item) => {
            board.group(group).title().set(op.text.as_str())?;
            state.chosen().set(item.filter(|_| op.b.is_multiple_of(2)))
        }
    }
}

/// The property that every test may check: the view of a store equals a fresh read of the document.
pub fn check_view<B: Backend>(store: &Store<Everything, B>) {
    let view = store.view();
    let fresh = store.reread();
    // NaN is not equal to itself, but its debug output is.
    if *view != fresh {
        assert_eq!(format!("{view:?}"), format!("{fresh:?}"), "the view differs from the document");
    }
    assert_eq!(
        view.notes.runs(),
        fresh.notes.runs(),
        "the marks differ from those of the document"
    );
    assert_eq!(store.document().sequence_faults(), 0, "an edit was placed wrongly");
}
