//! Promise: undo reverts a replica's own changes and nothing of others. Undo followed by redo gives
//! the same state.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use exostate::middleware::{Middleware, Proposal};
use exostate::{
    Automerge, Backend, ChangeError, Counter, List, Map, MovableList, Options, Origin, ReplicaId,
    State, Store, Text, UndoManager, UndoOptions, Yrs,
};
use proptest::prelude::*;
use support::{Everything, strategy};

fn each() -> UndoOptions {
    UndoOptions::new().with_window(Duration::ZERO)
}

fn same(a: &Everything, b: &Everything, what: &str) {
    if a != b {
        assert_eq!(format!("{a:?}"), format!("{b:?}"), "{what}");
    }
    assert_eq!(a.notes.runs(), b.notes.runs(), "{what}: the marks");
}

fn undo_all<S: State, B: Backend>(undo: &UndoManager<S, B>) -> usize {
    std::iter::from_fn(|| undo.undo().expect("it can be undone")).count()
}

fn redo_all<S: State, B: Backend>(undo: &UndoManager<S, B>) -> usize {
    std::iter::from_fn(|| undo.redo().expect("it can be redone")).count()
}

/// With one replica, every undo gives the state before, and every redo the state after.
fn alone<B: Backend>(ops: &[support::Op]) {
    let store = support::store::<B>(1);
    let undo = store.undo_manager(each());
    let mut states = vec![store.view()];
    for op in ops {
        let before = undo.undo_len();
        support::apply(&store, op);
        if undo.undo_len() > before {
            states.push(store.view());
        }
    }
    for state in states.iter().rev().skip(1) {
        assert!(undo.undo().expect("it can be undone").is_some());
        same(&store.view(), state, "undone");
        support::check_view(&store);
    }
    assert_eq!(undo.undo().expect("nothing is left"), None);
    for state in states.iter().skip(1) {
        assert!(undo.redo().expect("it can be redone").is_some());
        same(&store.view(), state, "redone");
        support::check_view(&store);
    }
    assert_eq!((undo.redo().expect("nothing is left"), undo.undo_len()), (None, states.len() - 1));
}

/// With another replica: undoing and redoing everything gives the same state again, and the
/// replicas converge at each step.
fn together<B: Backend>(steps: &[(bool, bool, support::Op)], restart: bool) {
    let mut ours = support::store::<B>(1);
    let theirs = support::store::<B>(2);
    let mut undo = ours.undo_manager(each());
    for (own, meets, op) in steps {
        support::apply(if *own { &ours } else { &theirs }, op);
        if *meets {
            ours.merge(&theirs).expect("it merges");
            theirs.merge(&ours).expect("it merges");
        }
    }
    ours.merge(&theirs).expect("it merges");
    if restart {
        let options =
            Options::new().with_replica(ReplicaId::from_bits(3)).with_earlier([ours.replica()]);
        let reopened = Store::open_with(&ours.save(), options).expect("it opens");
        let manager = reopened.undo_manager_from(&undo.save(), each()).expect("it wrote them");
        assert_eq!((manager.undo_len(), manager.redo_len()), (undo.undo_len(), undo.redo_len()));
        // The result of an undo is the same with and without a restart.
        let old = ours.fork().expect("it opens");
        let old_undo = old.undo_manager_from(&undo.save(), each()).expect("it wrote them");
        undo_all(&old_undo);
        undo_all(&undo);
        same(&ours.view(), &old.view(), "restarted");
        (ours, undo) = (reopened, manager);
    }
    let before = ours.view();
    let undone = undo_all(&undo);
    support::check_view(&ours);
    assert_eq!(redo_all(&undo), undone);
    support::check_view(&ours);
    same(&ours.view(), &before, "undone and redone");
    undo_all(&undo);
    theirs.merge(&ours).expect("it merges");
    assert_eq!(theirs.digest(), ours.digest());
    same(&theirs.view(), &ours.view(), "converged");
}

#[derive(State, Clone, Debug, PartialEq)]
struct Numbers {
    all: Map<u8, i64>,
    records: Map<u8, Record>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Record {
    a: i64,
    b: i64,
}

/// The last digit of every number is its writer: 1 or 2. An undo may remove our numbers, but not
/// theirs.
fn values_of_others_stay<B: Backend>(steps: &[(bool, u8, u8, u8)]) {
    let store = |id| {
        Store::<Numbers, B>::with_options(Options::new().with_replica(ReplicaId::from_bits(id)))
    };
    let stores = [store(1), store(2)];
    let undo = stores[0].undo_manager(each());
    for (number, (own, what, key, meets)) in steps.iter().enumerate() {
        let at = usize::from(!own);
        let number = number as i64 * 10;
        let value = number + at as i64 + 1;
        let made = stores[at].change(|state| match what % 6 {
            0 => state.all().insert(*key, value),
            1 => state.all().remove(*key).map(drop),
            2 => state.records().insert(*key, Record { a: value, b: value }),
            3 => state.records().get(*key).a().set(value),
            4 => state.records().get(*key).b().set(value),
            _ => state.records().remove(*key).map(drop),
        });
        assert!(made.is_ok() || matches!(made, Err(ChangeError::NotFound { .. })), "{made:?}");
        if meets % 3 == 0 {
            stores[0].merge(&stores[1]).expect("it merges");
            stores[1].merge(&stores[0]).expect("it merges");
        }
    }
    stores[0].merge(&stores[1]).expect("it merges");
    let theirs = |view: &Numbers| {
        let mut found: BTreeMap<(u8, char), i64> =
            view.all.iter().map(|(key, value)| ((*key, '='), *value)).collect();
        for (key, record) in view.records.iter() {
            found.extend([((*key, 'a'), record.a), ((*key, 'b'), record.b)]);
        }
        found.retain(|_, value| *value % 10 == 2);
        found
    };
    loop {
        let before = theirs(&stores[0].view());
        let moved = undo.undo().expect("it can be undone").is_some();
        let after = theirs(&stores[0].view());
        for (place, value) in before {
            assert_eq!(after.get(&place), Some(&value), "{place:?} was theirs");
        }
        if !moved {
            break;
        }
    }
}

#[derive(State, Clone, Debug, PartialEq)]
struct Note {
    body: Text,
}

/// One edit of a text with marks. The numbers choose its kind and its place.
type MarkedEdit = (u8, u8, u8, String);

fn marked_edit() -> impl Strategy<Value = MarkedEdit> {
    (0u8..10, any::<u8>(), any::<u8>(), "[a-c]{0,3}|😀")
}

fn edit_marked(
    note: &<Note as State>::Node<exostate::Edit<'_>>,
    earlier: &[Text],
    edit: &MarkedEdit,
) -> Result<(), ChangeError> {
    let (kind, a, b, text) = edit;
    let body = note.body();
    let len = body.get()?.len();
    let start = usize::from(*a) % (len + 1);
    let range = start..start + usize::from(*b) % (len - start + 1);
    let name = ["bold", "link"][usize::from(*a) % 2];
    match kind {
        0 | 1 => body.insert(start, text),
        2 => body.delete(range),
        3 | 4 => body.splice(range, text),
        5 => body.mark(range, name, true),
        6 => body.mark(range, name, text.clone()),
        7 => body.unmark(range, name),
        8 => body.mark(0..len, name, text.len() as i64),
        _ => body.reconcile(&earlier[usize::from(*a) % earlier.len()]),
    }
}

fn runs_of<B: Backend>(store: &Store<Note, B>) -> Vec<(String, Option<Arc<exostate::Marks>>)> {
    let runs = store.view().body.runs();
    assert_eq!(
        runs,
        store.reread().body.runs(),
        "on {}: the view differs from the document",
        B::NAME
    );
    runs
}

/// Groups of changes, each with several edits of a text with marks. Every undo gives the earlier
/// runs, every redo the later ones.
fn marked_alone<B: Backend>(groups: &[Vec<Vec<MarkedEdit>>]) {
    let store =
        Store::<Note, B>::with_options(Options::new().with_replica(ReplicaId::from_bits(1)));
    let undo = store.undo_manager(each());
    let mut states = vec![runs_of(&store)];
    let mut texts = vec![Text::from("caba")];
    for group in groups {
        let before = undo.undo_len();
        let held = undo.group();
        for change in group {
            store
                .change(|note| change.iter().try_for_each(|edit| edit_marked(&note, &texts, edit)))
                .expect("it can be changed");
            texts.push(store.view().body.clone());
            runs_of(&store);
        }
        drop(held);
        if undo.undo_len() > before {
            states.push(runs_of(&store));
        }
    }
    // A group without effect may be skipped.
    states.dedup();
    let mut at = states.len() - 1;
    while undo.undo().expect("it can be undone").is_some() {
        at -= usize::from(runs_of(&store) != states[at]);
        assert_eq!(runs_of(&store), states[at], "on {}: undone", B::NAME);
    }
    assert_eq!(at, 0);
    while undo.redo().expect("it can be redone").is_some() {
        at += usize::from(runs_of(&store) != states[at]);
        assert_eq!(runs_of(&store), states[at], "on {}: redone", B::NAME);
    }
    assert_eq!(at, states.len() - 1);
    // All earlier texts, in one change.
    for text in texts {
        store.change(|note| note.body().reconcile(&text)).expect("it can be changed");
        assert_eq!(runs_of(&store), text.runs(), "on {}: reconciled", B::NAME);
    }
}

fn marked_groups() -> impl Strategy<Value = Vec<Vec<Vec<MarkedEdit>>>> {
    let change = prop::collection::vec(marked_edit(), 1..4);
    prop::collection::vec(prop::collection::vec(change, 1..3), 0..8)
}

fn steps() -> impl Strategy<Value = Vec<(bool, bool, support::Op)>> {
    prop::collection::vec((any::<bool>(), prop::bool::weighted(0.3), strategy::op()), 0..16)
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn alone_on_yrs(ops in strategy::ops(14)) {
        alone::<Yrs>(&ops);
    }

    #[test]
    fn alone_on_automerge(ops in strategy::ops(14)) {
        alone::<Automerge>(&ops);
    }

    #[test]
    fn marked_alone_on_yrs(groups in marked_groups()) {
        marked_alone::<Yrs>(&groups);
    }

    #[test]
    fn marked_alone_on_automerge(groups in marked_groups()) {
        marked_alone::<Automerge>(&groups);
    }

    #[test]
    fn together_on_yrs(steps in steps(), restart in any::<bool>()) {
        together::<Yrs>(&steps, restart);
    }

    #[test]
    fn together_on_automerge(steps in steps(), restart in any::<bool>()) {
        together::<Automerge>(&steps, restart);
    }

    #[test]
    fn values_of_others_stay_on_yrs(
        steps in prop::collection::vec((any::<bool>(), any::<u8>(), 0u8..3, any::<u8>()), 0..24),
    ) {
        values_of_others_stay::<Yrs>(&steps);
    }

    #[test]
    fn values_of_others_stay_on_automerge(
        steps in prop::collection::vec((any::<bool>(), any::<u8>(), 0u8..3, any::<u8>()), 0..24),
    ) {
        values_of_others_stay::<Automerge>(&steps);
    }

    #[test]
    fn damaged_stacks_are_refused(
        ops in strategy::ops(8),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let store = support::store::<Yrs>(1);
        let undo = store.undo_manager(each());
        ops.iter().for_each(|op| support::apply(&store, op));
        let mut bytes = undo.save();
        let at = at.index(bytes.len());
        prop_assert!(store.undo_manager_from(&bytes[..at], each()).is_err());
        let whole = bytes[at] == byte;
        bytes[at] = byte;
        prop_assert_eq!(store.undo_manager_from(&bytes, each()).is_ok(), whole);
    }
}

#[derive(State, Clone, Debug, PartialEq)]
struct Board {
    title: String,
    notes: Text,
    votes: Counter,
    lines: List<String>,
    cards: MovableList<Card>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct Card {
    text: String,
    body: Text,
}

fn two<B: Backend>() -> (Store<Board, B>, Store<Board, B>) {
    let ours = Store::<Board, B>::new();
    ours.change(|board| board.title().set("one")).expect("it can be set");
    let theirs = ours.fork().expect("it opens");
    (ours, theirs)
}

fn meet<B: Backend>(a: &Store<Board, B>, b: &Store<Board, B>) {
    a.merge(b).expect("it merges");
    b.merge(a).expect("it merges");
    assert_eq!(a.view(), b.view());
}

fn examples<B: Backend>() -> Result<(), exostate::Error> {
    let (ours, theirs) = two::<B>();
    let undo = ours.undo_manager(each());
    // A register that another replica has written since keeps that value. A value that another
    // replica wrote earlier comes back.
    ours.change(|board| board.title().set("two"))?;
    meet(&ours, &theirs);
    theirs.change(|board| board.title().set("theirs"))?;
    meet(&ours, &theirs);
    ours.change(|board| board.title().set("three"))?;
    assert!(undo.undo()?.is_some());
    assert_eq!(ours.view().title, "theirs");
    assert!(undo.undo()?.is_none(), "`two` is not ours to take back any more");
    assert_eq!(ours.view().title, "theirs");

    // A card that another replica has edited stays whole. A card that another replica removed stays
    // removed. A card that this replica removed comes back with its content.
    let [kept, lost, back] = ["kept", "lost", "back"].map(|text| {
        ours.change(|board| {
            board.cards().push(Card { text: text.to_owned(), body: Text::from("body") })
        })
        .expect("it can be added")
    });
    meet(&ours, &theirs);
    theirs.change(|board| {
        board.cards().get(kept).body().push_str("!")?;
        board.cards().remove(lost)
    })?;
    meet(&ours, &theirs);
    ours.change(|board| board.cards().remove(back))?;
    theirs.change(|board| board.cards().move_to(kept, 0))?;
    meet(&ours, &theirs);
    assert!(undo.undo()?.is_some());
    meet(&ours, &theirs);
    let shown = |store: &Store<Board, B>| {
        store
            .view()
            .cards
            .iter()
            .map(|card| format!("{} {}", card.text, card.body))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&theirs), ["kept body!", "back body"]);
    assert!(undo.undo()?.is_some(), "the adding of `back`");
    assert!(undo.undo()?.is_none(), "`lost` is gone, and `kept` is also theirs");
    assert_eq!(shown(&ours), ["kept body!"]);

    // Counters and lists keep the additions of other replicas.
    ours.change(|board| board.votes().add(5))?;
    ours.change(|board| board.lines().push("ours".to_owned()))?;
    theirs.change(|board| {
        board.votes().add(2)?;
        board.lines().push("theirs".to_owned())
    })?;
    meet(&ours, &theirs);
    assert_eq!(undo_all(&undo), 2);
    meet(&ours, &theirs);
    assert_eq!(
        (theirs.view().votes.value(), theirs.view().lines.iter().cloned().collect::<Vec<_>>()),
        (2, vec!["theirs".to_owned()])
    );
    Ok(())
}

/// If another replica sets the same value as this one, the value belongs to the other replica. So
/// does a value that an undo restored for the other replica.
fn equal_values<B: Backend>(one_by_one: bool) -> Result<(), exostate::Error> {
    let (ours, theirs) = two::<B>();
    let undo = ours.undo_manager(each());
    ours.change(|board| board.title().set("x"))?;
    meet(&ours, &theirs);
    for title in ["y", "x"] {
        theirs.change(|board| board.title().set(title))?;
        if one_by_one {
            meet(&ours, &theirs);
        }
    }
    meet(&ours, &theirs);
    ours.change(|board| board.title().set("z"))?;
    assert!(undo.undo()?.is_some());
    assert!(undo.undo()?.is_none(), "on {}: it is theirs again", B::NAME);
    assert_eq!(ours.view().title, "x");
    Ok(())
}

#[test]
fn equal_values_of_others_are_kept() -> Result<(), exostate::Error> {
    equal_values::<Yrs>(true)?;
    equal_values::<Yrs>(false)?;
    equal_values::<Automerge>(true)?;
    equal_values::<Automerge>(false)
}

/// Rows of the table in `docs/undo.md` about texts and removed cards.
fn documented_table<B: Backend>() -> Result<(), exostate::Error> {
    type Edit<'a, B> = &'a dyn Fn(&Store<Board, B>) -> Result<(), ChangeError>;
    let typed = |theirs: Edit<'_, B>| {
        let (ours, other) = two::<B>();
        let undo = ours.undo_manager(each());
        ours.change(|board| board.notes().push_str("hello"))?;
        meet(&ours, &other);
        theirs(&other)?;
        meet(&ours, &other);
        undo.undo()?;
        meet(&ours, &other);
        Ok::<_, exostate::Error>(other.view().notes.to_string())
    };
    assert_eq!(typed(&|theirs| theirs.change(|board| board.notes().push_str(" you")))?, " you");
    assert_eq!(typed(&|theirs| theirs.change(|board| board.notes().delete(1..4)))?, "");
    assert_eq!(typed(&|theirs| theirs.change(|board| board.notes().insert(2, "XX")))?, "XX");

    let (ours, theirs) = two::<B>();
    let card = ours.change(|board| {
        board.notes().push_str("One. Two. Three.")?;
        board.cards().push(Card { text: "card".to_owned(), body: Text::from("body") })
    })?;
    meet(&ours, &theirs);
    theirs.change(|board| board.cards().get(card).body().push_str(", theirs"))?;
    meet(&ours, &theirs);
    let undo = ours.undo_manager(each());
    ours.change(|board| board.notes().delete(5..10))?;
    ours.change(|board| board.cards().remove(card))?;
    theirs.change(|board| {
        board.notes().insert(0, "> ")?;
        board.notes().push_str(" Four.")?;
        board.cards().get(card).text().set("edited")
    })?;
    meet(&ours, &theirs);
    assert!(theirs.view().cards.is_empty(), "removal wins");
    undo.undo()?;
    meet(&ours, &theirs);
    let shown = |store: &Store<Board, B>| {
        store
            .view()
            .cards
            .iter()
            .map(|card| format!("{} {}", card.text, card.body))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&theirs), ["edited body, theirs"]);
    undo.undo()?;
    meet(&ours, &theirs);
    assert_eq!(theirs.view().notes.to_string(), "> One. Two. Three. Four.");

    // Moves.
    let other = ours
        .change(|board| board.cards().push(Card { text: "other".to_owned(), body: Text::new() }))?;
    ours.change(|board| board.cards().move_to(other, 0))?;
    meet(&ours, &theirs);
    theirs.change(|board| board.cards().get(other).text().set("renamed"))?;
    meet(&ours, &theirs);
    undo.undo()?;
    assert_eq!(shown(&ours), ["edited body, theirs", "renamed "]);
    Ok(())
}

#[test]
fn documented_table_holds() -> Result<(), exostate::Error> {
    documented_table::<Yrs>()?;
    documented_table::<Automerge>()
}

#[test]
fn documented_examples_hold() -> Result<(), exostate::Error> {
    examples::<Yrs>()?;
    examples::<Automerge>()
}

#[test]
fn changes_are_grouped_by_time_by_label_and_by_hand() -> Result<(), exostate::Error> {
    let now = Arc::new(Mutex::new(SystemTime::UNIX_EPOCH));
    let clock = Arc::clone(&now);
    let store = Store::<Board>::with_options(
        Options::new().with_clock(move || *clock.lock().expect("the clock")),
    );
    let undo = store.undo_manager(UndoOptions::new());
    let wait = |millis| *now.lock().expect("the clock") += Duration::from_millis(millis);
    let type_in = |text: &str| store.change(|board| board.notes().push_str(text));
    type_in("a")?;
    wait(400);
    type_in("b")?;
    wait(500);
    type_in("c")?;
    assert_eq!(undo.undo_len(), 2);
    store.transaction().label("Other").run(|board| board.notes().push_str("d"))?;
    assert_eq!((undo.undo_len(), undo.undo_label().as_deref()), (3, Some("Other")));
    undo.split();
    let dragging = undo.group();
    for text in ["e", "f"] {
        type_in(text)?;
        wait(10_000);
    }
    drop(dragging);
    type_in("g")?;
    assert_eq!(undo.undo_len(), 5);
    let shown: Vec<String> = std::iter::from_fn(|| {
        undo.undo().expect("it can be undone").map(|_| store.view().notes.to_string())
    })
    .collect();
    assert_eq!(shown, ["abcdef", "abcd", "abc", "ab", ""]);
    undo.redo()?;
    type_in("x")?;
    assert_eq!(
        (undo.redo_len(), store.view().notes.to_string()),
        (0, "abx".to_owned()),
        "a new change forgets what could be redone"
    );
    Ok(())
}

#[test]
fn selections_come_back() -> Result<(), exostate::Error> {
    let store = Store::<Board>::new();
    let undo = store.undo_manager(each());
    undo.note_selection(*b"at the start");
    store.change(|board| board.notes().push_str("text"))?;
    undo.note_selection(*b"at the end");
    assert_eq!(
        undo.undo()?.and_then(|undone| undone.selection).as_deref(),
        Some(&b"at the start"[..])
    );
    assert_eq!(
        undo.redo()?.and_then(|redone| redone.selection).as_deref(),
        Some(&b"at the end"[..])
    );
    Ok(())
}

#[test]
fn managers_have_scopes() -> Result<(), exostate::Error> {
    let store = Store::<Board>::new();
    let titles = store.undo_manager(each().within(Board::path().title()));
    let cards = store.undo_manager(each().within(Board::path().cards().any()));
    let card = store
        .change(|board| board.cards().push(Card { text: "card".to_owned(), body: Text::new() }))?;
    store.change(|board| board.title().set("title"))?;
    store.change(|board| {
        board.title().set("both")?;
        board.cards().get(card).text().set("both")
    })?;
    assert_eq!(
        (titles.undo_len(), cards.undo_len()),
        (1, 1),
        "what reaches beyond the scope is nobody's"
    );
    assert!(titles.undo()?.is_none());
    assert_eq!(store.view().title, "both");
    drop(titles);
    assert!(cards.undo()?.is_some(), "the card is one's own, whatever was made of it");
    assert!(store.view().cards.is_empty());
    assert!(cards.redo()?.is_some());
    assert_eq!(store.view().cards.get(0).map(|card| card.text.as_str()), Some("both"));
    Ok(())
}

struct Refuses;

impl Middleware<Board> for Refuses {
    fn change(&self, change: &mut Proposal<'_, Board>) -> Result<(), ChangeError> {
        if change.origin() == Origin::Undo { Err(ChangeError::refuse("not now")) } else { Ok(()) }
    }
}

#[test]
fn a_refused_undo_stays_on_the_stack() -> Result<(), exostate::Error> {
    let store = Store::<Board>::new();
    let undo = store.undo_manager(each());
    store.change(|board| board.title().set("title"))?;
    store.add_middleware(Refuses);
    assert!(matches!(undo.undo(), Err(ChangeError::Refused(_))));
    assert_eq!((undo.undo_len(), undo.redo_len(), store.view().title.as_str()), (1, 0, "title"));
    assert!(matches!(store.change(|_| undo.undo()), Err(ChangeError::Nested)), "within a change");
    Ok(())
}

#[test]
fn watchers_get_the_origin_and_label_of_an_undo() -> Result<(), exostate::Error> {
    let store = Store::<Board>::new();
    let undo = store.undo_manager(each());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let _watch = store.watch(Board::path().title(), move |title| {
        let label = title.meta().and_then(|meta| meta.label()).map(str::to_owned);
        told.lock().expect("the list").push((title.origin(), label));
    });
    store.transaction().label("Rename").run(|board| board.title().set("title"))?;
    undo.undo()?;
    undo.redo()?;
    let label = || Some("Rename".to_owned());
    assert_eq!(
        *heard.lock().expect("the list"),
        [(Origin::Local, label()), (Origin::Undo, label()), (Origin::Redo, label())]
    );
    Ok(())
}

#[test]
fn marks_go_and_come_back() -> Result<(), exostate::Error> {
    fn run<B: Backend>() -> Result<(), exostate::Error> {
        let (ours, theirs) = two::<B>();
        ours.change(|board| board.notes().push_str("one two"))?;
        let undo = ours.undo_manager(each());
        ours.change(|board| board.notes().mark(0..7, "bold", true))?;
        meet(&ours, &theirs);
        theirs.change(|board| board.notes().mark(0..3, "bold", "very"))?;
        meet(&ours, &theirs);
        undo.undo()?;
        let runs: Vec<(String, bool)> = ours
            .view()
            .notes
            .runs()
            .into_iter()
            .map(|(run, marks)| (run, marks.is_some()))
            .collect();
        assert_eq!(
            runs,
            [("one".to_owned(), true), (" two".to_owned(), false)],
            "on {}: where others marked it anew it stays",
            B::NAME
        );
        undo.redo()?;
        assert!(ours.view().notes.marks_at(5).is_some());
        Ok(())
    }
    run::<Yrs>()?;
    run::<Automerge>()
}

/// One change replaces the text and changes its marks.
#[test]
fn a_marked_text_that_was_replaced_comes_back_as_it_was() -> Result<(), exostate::Error> {
    fn run<B: Backend>() -> Result<(), exostate::Error> {
        let store = Store::<Board, B>::new();
        store.change(|board| {
            board.notes().push_str("ca")?;
            board.notes().mark(0..1, "bold", true)
        })?;
        let before = store.view().notes.runs();
        let undo = store.undo_manager(each());
        store.change(|board| {
            board.notes().splice(0..2, "ac")?;
            board.notes().unmark(0..2, "bold")?;
            board.notes().mark(0..1, "bold", true)
        })?;
        let after = store.view().notes.runs();
        assert_eq!(store.view().notes.to_string(), "ac");
        for _ in 0..2 {
            undo.undo()?;
            assert_eq!(
                (store.view().notes.runs(), store.reread().notes.runs()),
                (before.clone(), before.clone()),
                "on {}",
                B::NAME
            );
            undo.redo()?;
            assert_eq!(
                (store.view().notes.runs(), store.reread().notes.runs()),
                (after.clone(), after.clone()),
                "on {}",
                B::NAME
            );
        }
        Ok(())
    }
    run::<Yrs>()?;
    run::<Automerge>()
}

/// Equal characters side by side: an undo removes the one that it typed. The ones that others typed
/// beside it stay in place.
#[test]
fn an_undo_takes_its_own_of_equal_characters() -> Result<(), exostate::Error> {
    fn run<B: Backend>() -> Result<(), exostate::Error> {
        let store = Store::<Board, B>::new();
        store.change(|board| board.notes().push_str("aaaa"))?;
        let undo = store.undo_manager(each());
        store.change(|board| board.notes().insert(1, "a"))?;
        store.change(|board| board.notes().mark(1..2, "bold", true))?;
        let later = store.undo_manager(each());
        store.change(|board| board.notes().insert(5, "a"))?;
        let runs = || store.view().notes.runs().into_iter().map(|(run, _)| run).collect::<Vec<_>>();
        later.undo()?;
        assert_eq!(runs(), ["a", "a", "aaa"]);
        later.redo()?;
        assert_eq!(runs(), ["a", "a", "aaaa"]);
        undo.undo()?;
        assert_eq!(
            runs(),
            ["a", "a", "aaa"],
            "what the other manager brought back is the same element"
        );
        undo.undo()?;
        undo.undo()?;
        assert_eq!(store.view().notes.to_string(), "aaaa");
        Ok(())
    }
    run::<Yrs>()?;
    run::<Automerge>()
}

/// Saved stacks are read while the manager that saved them still exists and has recorded more
/// changes since.
#[test]
fn stacks_read_beside_their_manager_mean_the_same_elements() -> Result<(), exostate::Error> {
    let store = Store::<Board>::new();
    let first = store.undo_manager(each());
    store.change(|board| board.notes().push_str("one two three"))?;
    store.change(|board| board.notes().delete(4..8))?;
    let stacks = first.save();
    store.change(|board| board.notes().insert(4, "and "))?;
    let second = store.undo_manager_from(&stacks, each())?;
    assert!(second.undo()?.is_some());
    assert_eq!(store.view().notes.to_string(), "one two and three");
    assert!(first.undo()?.is_some());
    assert_eq!(store.view().notes.to_string(), "one two three");
    assert!(second.undo()?.is_some());
    assert_eq!(store.view().notes.to_string(), "");
    Ok(())
}

/// A store, and two managers of it.
type Managed<B> = (Store<Board, B>, [UndoManager<Board, B>; 2]);

/// Notes with marks and lines. Changes deleted some of them.
fn edited<B: Backend>() -> Result<Managed<B>, exostate::Error> {
    let store = Store::<Board, B>::new();
    store.change(|board| board.notes().push_str("hello world"))?;
    store.change(|board| board.notes().mark(2..8, "bold", true))?;
    store.change(|board| {
        board.lines().reconcile(&List::from(["a", "b", "c", "d"].map(str::to_owned)))
    })?;
    let managers = [store.undo_manager(each()), store.undo_manager(each())];
    store.change(|board| board.notes().delete(0..6))?;
    store.change(|board| board.notes().mark(0..3, "em", true))?;
    store.change(|board| board.lines().remove(1))?;
    store.change(|board| board.lines().insert(1, "new".to_owned()))?;
    store.change(|board| board.notes().splice(1..3, "OR"))?;
    Ok((store, managers))
}

type Shown = (Vec<(String, Option<Arc<exostate::Marks>>)>, Vec<String>);

fn shown<B: Backend>(store: &Store<Board, B>) -> Shown {
    let view = store.view();
    (view.notes.runs(), view.lines.iter().cloned().collect())
}

/// The state after each step of two managers that take turns.
fn in_turns<B: Backend>(
    store: &Store<Board, B>,
    [one, two]: [&UndoManager<Board, B>; 2],
) -> Result<Vec<Shown>, exostate::Error> {
    let mut steps = Vec::new();
    for _ in 0..7 {
        for manager in [one, two, two] {
            manager.undo()?;
            steps.push(shown(store));
        }
        one.redo()?;
        steps.push(shown(store));
    }
    while two.redo()?.is_some() || one.redo()?.is_some() {
        steps.push(shown(store));
    }
    Ok(steps)
}

/// Managers that are read from stacks of one store refer to the same elements as the managers that
/// saved them.
#[test]
fn stacks_of_one_store_mean_the_same_elements() -> Result<(), exostate::Error> {
    fn run<B: Backend>() -> Result<(), exostate::Error> {
        let live = |steps: [usize; 2]| {
            let (store, managers) = edited::<B>()?;
            in_turns(&store, steps.map(|index| &managers[index]))
        };
        let expected = live([0, 1])?;
        let (store, managers) = edited::<B>()?;
        let document = store.save();
        let stacks = [managers[0].save(), managers[1].save()];
        let open = || Store::<Board, B>::open(&document);

        let reopened = open()?;
        let [one, two] = [
            reopened.undo_manager_from(&stacks[0], each())?,
            reopened.undo_manager_from(&stacks[1], each())?,
        ];
        assert_eq!(in_turns(&reopened, [&one, &two])?, expected, "both are read");

        // Once more: from stacks that a second store saved after reading them, together with the
        // stacks of the first store.
        let reopened = open()?;
        let _other = reopened.undo_manager_from(&stacks[1], each())?;
        let again = reopened.undo_manager_from(&stacks[0], each())?.save();
        let third = open()?;
        let [one, two] = [
            third.undo_manager_from(&again, each())?,
            third.undo_manager_from(&stacks[1], each())?,
        ];
        assert_eq!(in_turns(&third, [&one, &two])?, expected, "one is read again");

        let [kept, saved] = managers;
        drop(saved);
        let read = store.undo_manager_from(&stacks[1], each())?;
        assert_eq!(in_turns(&store, [&kept, &read])?, expected, "one is read beside the other");
        Ok(())
    }
    run::<Yrs>().and_then(|()| run::<Automerge>())
}

/// The same for stacks that were saved at different times, and read after changes of the store that
/// reads them.
#[test]
fn stacks_of_different_times_mean_the_same_elements() -> Result<(), exostate::Error> {
    fn run<B: Backend>() -> Result<(), exostate::Error> {
        let (store, [early, late]) = edited::<B>()?;
        let before = shown(&store);
        let first = early.save();
        store.change(|board| board.notes().push_str(" and more"))?;
        store.change(|board| board.lines().insert(0, "first".to_owned()))?;
        late.undo()?;
        late.undo()?;
        assert_eq!(shown(&store), before);
        let document = store.save();
        let second = late.save();
        while late.undo()?.is_some() {}
        let start = shown(&store);
        while early.undo()?.is_some() {}
        assert_eq!(shown(&store), start, "live");

        let reopened = Store::<Board, B>::open(&document)?;
        let own = reopened.undo_manager(each());
        reopened.change(|board| board.notes().insert(0, "> "))?;
        let [early, late] = [
            reopened.undo_manager_from(&first, each())?,
            reopened.undo_manager_from(&second, each())?,
        ];
        while early.undo()?.is_some() {}
        own.undo()?;
        assert_eq!(shown(&reopened), start);
        while late.undo()?.is_some() {}
        assert_eq!(shown(&reopened), start);
        Ok(())
    }
    run::<Yrs>().and_then(|()| run::<Automerge>())
}

/// A manager that is read from its own stacks repeatedly does not use up ids.
#[test]
fn stacks_can_be_read_repeatedly() -> Result<(), exostate::Error> {
    let (store, [mut undo, _]) = edited::<Yrs>()?;
    for _ in 0..100 {
        undo = store.undo_manager_from(&undo.save(), each())?;
        assert!(undo.undo()?.is_some());
        assert!(undo.redo()?.is_some());
    }
    undo_all(&undo);
    assert_eq!(store.view().notes.to_string(), "hello world");
    Ok(())
}

#[test]
fn an_undo_in_a_callback_undoes_the_next_group() -> Result<(), exostate::Error> {
    let store = Store::<Board>::new();
    store.change(|board| board.notes().push_str("abc"))?;
    let undo = store.undo_manager(each());
    store.change(|board| board.notes().delete(2..3))?;
    store.change(|board| board.notes().delete(1..2))?;
    let within = undo.clone();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let lengths = Arc::clone(&seen);
    let _watch = store.watch(Board::path().notes(), move |_| {
        let mut lengths = lengths.lock().expect("the list");
        lengths.push((within.undo_len(), within.redo_len()));
        if lengths.len() == 1 {
            drop(lengths);
            assert!(within.undo().expect("it can be undone").is_some());
        }
    });
    assert!(undo.undo()?.is_some());
    assert_eq!(store.view().notes.to_string(), "abc");
    assert_eq!(
        *seen.lock().expect("the list"),
        [(1, 1), (0, 2)],
        "those who watch see the stacks as they are"
    );
    Ok(())
}

#[test]
fn concurrent_undos_undo_one_group_each() -> Result<(), exostate::Error> {
    for _ in 0..50 {
        let store = Store::<Board>::new();
        let undo = store.undo_manager(each());
        for text in ["a", "b", "c", "d"] {
            store.change(|board| board.notes().push_str(text))?;
        }
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert!(undo.undo().expect("it can be undone").is_some()));
            }
        });
        assert_eq!(
            (store.view().notes.to_string(), undo.undo_len(), undo.redo_len()),
            ("a".to_owned(), 1, 3)
        );
        assert_eq!(store.reread(), *store.view());
    }
    Ok(())
}

#[test]
fn a_watcher_that_panics_does_not_break_the_stacks() -> Result<(), exostate::Error> {
    let store = Store::<Board>::new();
    let undo = store.undo_manager(each());
    store.change(|board| board.title().set("title"))?;
    let watch = store.watch(Board::path().title(), |_| panic!("within a watcher"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| undo.undo())).is_err());
    drop(watch);
    assert_eq!((undo.undo_len(), undo.redo_len(), store.view().title.as_str()), (0, 1, ""));
    undo.redo()?;
    assert_eq!(store.view().title, "title");
    Ok(())
}

/// A value that another manager's undo restored for another replica belongs to that replica for
/// this manager too.
#[test]
fn two_managers_keep_values_of_others() -> Result<(), exostate::Error> {
    let ours = Store::<Numbers>::new();
    let theirs = Store::<Numbers>::new();
    let first = ours.undo_manager(each());
    ours.change(|state| state.records().insert(1, Record { a: 1, b: 1 }))?;
    let second = ours.undo_manager(each());
    theirs.merge(&ours)?;
    theirs.change(|state| state.records().get(1_u8).b().set(2))?;
    ours.merge(&theirs)?;
    ours.change(|state| state.records().get(1_u8).b().set(3))?;
    assert!(second.undo()?.is_some());
    while first.undo()?.is_some() {}
    assert_eq!(ours.view().records.get(&1).map(|record| record.b), Some(2));
    Ok(())
}

/// The document changed without the manager between saving the stacks and reading them.
#[test]
fn undo_keeps_changes_made_without_the_manager() -> Result<(), exostate::Error> {
    fn run<B: Backend>() -> Result<(), exostate::Error> {
        let ours = Store::<Numbers, B>::new();
        let theirs = Store::<Numbers, B>::new();
        let undo = ours.undo_manager(each());
        ours.change(|state| state.records().insert(1, Record { a: 1, b: 1 }))?;
        ours.change(|state| state.records().insert(2, Record { a: 1, b: 1 }))?;
        let stacks = undo.save();
        drop(undo);
        theirs.merge(&ours)?;
        theirs.change(|state| state.records().get(1_u8).b().set(2))?;
        ours.merge(&theirs)?;
        let ours = Store::<Numbers, B>::open(&ours.save())?;
        let undo = ours.undo_manager_from(&stacks, each())?;
        assert_eq!(undo_all(&undo), 1);
        assert_eq!(ours.view().records.keys().copied().collect::<Vec<_>>(), [1], "on {}", B::NAME);
        Ok(())
    }
    run::<Yrs>()?;
    run::<Automerge>()
}

#[test]
fn a_clock_may_use_the_store_or_panic() -> Result<(), exostate::Error> {
    type Shared = Arc<Mutex<Option<(Store<Board>, UndoManager<Board>)>>>;
    let shared = Shared::default();
    let bad = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&shared);
    let panics = Arc::clone(&bad);
    let store = Store::<Board>::with_options(Options::new().with_clock(move || {
        if let Some((store, undo)) = &*seen.lock().expect("the store") {
            let _ = (store.version(), undo.undo_len());
        }
        assert!(!*panics.lock().expect("the flag"), "the clock is broken");
        SystemTime::UNIX_EPOCH
    }));
    *shared.lock().expect("the store") = Some((store.clone(), store.undo_manager(each())));
    store.change(|board| board.title().set("one"))?;
    *bad.lock().expect("the flag") = true;
    let change = || store.change(|board| board.title().set("two"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(change)).is_err());
    assert_eq!((store.view().title.as_str(), store.reread().title.as_str()), ("one", "one"));
    Ok(())
}

/// Each thread reads the clock in its turn, so that the times are in the order of the changes.
#[test]
fn changes_of_many_threads_are_one_group() -> Result<(), exostate::Error> {
    let ticks = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let clock = Arc::clone(&ticks);
    let store = Store::<Board>::with_options(Options::new().with_clock(move || {
        let tick = clock.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        std::thread::yield_now();
        SystemTime::UNIX_EPOCH + Duration::from_micros(tick)
    }));
    let undo = store.undo_manager(UndoOptions::new());
    let history = store.history(exostate::HistoryOptions::new())?;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..20 {
                    let typed = match number % 2 {
                        0 => store.change(|board| board.notes().push_str("x")),
                        _ => store.transaction().run(|board| board.votes().add(1)),
                    };
                    typed.expect("it can be changed");
                }
            });
        }
    });
    assert_eq!(undo.undo_len(), 1);
    let times: Vec<_> = history.revisions().iter().map(|revision| revision.time()).collect();
    assert!(times.len() > 1 && times.is_sorted(), "{times:?}");
    assert!(undo.undo()?.is_some());
    assert_eq!((store.view().notes.len(), store.view().votes.value()), (0, 0));
    Ok(())
}

#[test]
fn a_clock_that_goes_back_ends_no_group() -> Result<(), exostate::Error> {
    let micros = Arc::new(std::sync::atomic::AtomicU64::new(1_000_000));
    let clock = Arc::clone(&micros);
    let now = move || {
        SystemTime::UNIX_EPOCH
            + Duration::from_micros(clock.load(std::sync::atomic::Ordering::SeqCst))
    };
    let store = Store::<Board>::with_options(Options::new().with_clock(now));
    let undo = store.undo_manager(UndoOptions::new());
    let type_at = |time: u64| {
        micros.store(time, std::sync::atomic::Ordering::SeqCst);
        store.change(|board| board.notes().push_str("x"))
    };
    for time in [1_000_000, 999_999, 1_000_000, 0, 499_999] {
        type_at(time)?;
    }
    assert_eq!(undo.undo_len(), 1);
    type_at(999_999)?;
    assert_eq!(undo.undo_len(), 2, "half a second later");
    Ok(())
}

#[test]
fn a_manager_made_within_a_change_records_it() -> Result<(), exostate::Error> {
    let store = Store::<Board>::new();
    let undo = store.change(|board| {
        board.title().set("one")?;
        Ok(store.undo_manager(each()))
    })?;
    store.change(|board| board.title().set("two"))?;
    assert_eq!((undo_all(&undo), store.view().title.as_str()), (2, ""));
    Ok(())
}

#[test]
fn a_mark_is_undone_in_one_op() -> Result<(), exostate::Error> {
    let store = Store::<Board>::new();
    store.change(|board| board.notes().push_str(&"word ".repeat(1_000)))?;
    let undo = store.undo_manager(each());
    store.change(|board| board.notes().mark(0..5_000, "bold", true))?;
    let before = store.save().len();
    undo.undo()?;
    assert!(store.view().notes.runs().iter().all(|(_, marks)| marks.is_none()));
    assert!(store.save().len() < before + 100);
    Ok(())
}

#[test]
fn elements_removed_by_others_leave_the_stacks() -> Result<(), exostate::Error> {
    let (ours, theirs) = two::<Yrs>();
    let undo = ours.undo_manager(each());
    let mut sizes = Vec::new();
    for _ in 0..20 {
        let card = theirs.change(|board| {
            board.cards().push(Card { text: "card".to_owned(), body: Text::from("body") })
        })?;
        ours.merge(&theirs)?;
        theirs.change(|board| board.cards().remove(card))?;
        ours.merge(&theirs)?;
        sizes.push(undo.save().len());
    }
    assert!(sizes[19] <= sizes[1] + 8, "{sizes:?}");
    Ok(())
}

#[test]
fn saved_stacks_keep_to_the_limit() -> Result<(), exostate::Error> {
    let store = Store::<Board>::new();
    let undo = store.undo_manager(each());
    for number in 0..10 {
        store.change(|board| board.title().set(number.to_string()))?;
    }
    let few = store.undo_manager_from(&undo.save(), each().with_groups_max(2))?;
    assert_eq!((few.undo_len(), undo_all(&few), store.view().title.as_str()), (2, 2, "7"));
    Ok(())
}

/// The deleted text is longer than a change may write. It cannot come back, and must not block the
/// entries that can.
#[test]
fn a_group_that_cannot_be_undone_is_skipped() -> Result<(), exostate::Error> {
    let theirs =
        Store::<Board>::with_options(Options::new().with_limits(exostate::Limits::trusted()));
    theirs.change(|board| board.title().set("z".repeat(20 << 20)))?;
    let ours = Store::<Board>::new();
    ours.apply_trusted(&theirs.save())?;
    let undo = ours.undo_manager(each());
    ours.change(|board| board.lines().push("first".to_owned()))?;
    ours.change(|board| board.title().set("short"))?;
    assert!(matches!(undo.undo(), Err(ChangeError::Invalid { .. })));
    assert!(undo.undo()?.is_some());
    assert!(ours.view().lines.is_empty());
    Ok(())
}

/// Other software made a mark that exostate cannot write: the text comes back without it.
#[test]
fn marks_that_cannot_be_written_do_not_come_back() -> Result<(), exostate::Error> {
    use yrs::types::Attrs;
    use yrs::updates::decoder::Decode;
    use yrs::{Any, Doc, ReadTxn, Text as _, Transact, Update, WriteTxn};
    let store = Store::<Board>::new();
    store.change(|board| board.notes().push_str("abc"))?;
    let doc = Doc::new();
    {
        let mut txn = doc.transact_mut();
        let text = txn.get_or_insert_text("T:notes");
        txn.apply_update(Update::decode_v1(&store.save()).expect("an update")).expect("it fits");
        let list: Any = vec![Any::from(1.0)].into();
        text.format(&mut txn, 0, 2, Attrs::from([("x".into(), list)]));
    }
    let update = doc.transact().encode_state_as_update_v1(&yrs::StateVector::default());
    store.apply(&update)?;
    let undo = store.undo_manager(each());
    store.change(|board| board.notes().delete(0..3))?;
    assert!(undo.undo()?.is_some());
    assert_eq!(store.view().notes.to_string(), "abc");
    assert_eq!(store.view().notes.runs(), store.reread().notes.runs());
    Ok(())
}

/// A redo changes an enum back to a variant although another replica wrote in the previous variant
/// meanwhile. A value that an undo shows again does not block the redo.
#[test]
fn a_redo_goes_back_to_a_variant() -> Result<(), exostate::Error> {
    fn run<B: Backend>() -> Result<(), exostate::Error> {
        let ours = support::store::<B>(1);
        let theirs = support::store::<B>(2);
        theirs.change(|state| state.shape().reconcile(&support::Shape::Circle { radius: 0.0 }))?;
        ours.merge(&theirs)?;
        let undo = ours.undo_manager(each());
        ours.change(|state| {
            state.shape().reconcile(&support::Shape::Label("ours".to_owned(), Text::from("label")))
        })?;
        theirs.change(|state| state.shape().reconcile(&support::Shape::Circle { radius: 1.0 }))?;
        ours.merge(&theirs)?;
        let before = ours.view();
        assert_eq!((undo_all(&undo), redo_all(&undo)), (1, 1));
        same(&ours.view(), &before, "undone and redone");
        undo_all(&undo);
        assert_eq!(ours.view().shape, support::Shape::Circle { radius: 1.0 });
        Ok(())
    }
    run::<Yrs>()?;
    run::<Automerge>()
}
