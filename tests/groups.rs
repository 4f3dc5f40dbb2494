//! Groups: the edits of one replica alone, and how an application handles edits of other replicas.
//! (Concurrent edits are in `concurrent_cases.rs`, the layout in `others_can_read.rs`.)

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use exostate::{
    Automerge, Backend, ChangeError, ElementId, Groups, MovableList, State, Store, UndoOptions, Yrs,
};
use proptest::prelude::*;
use support::strategy;

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Board {
    cards: Groups<Column, Card>,
    chosen: Option<ElementId>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Column {
    title: String,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Card {
    text: String,
    done: bool,
}

fn column(title: &str) -> Column {
    Column { title: title.to_owned() }
}

fn card(text: &str) -> Card {
    Card { text: text.to_owned(), done: false }
}

/// Columns "todo" and "done", the first with cards a, b, c; the ids of columns and cards.
fn board<B: Backend>() -> (Store<Board, B>, [ElementId; 2], [ElementId; 3]) {
    let store = Store::<Board, B>::new();
    let ids = store.change(|board| {
        let board = board.cards();
        let columns = [board.push_group(column("todo"))?, board.push_group(column("done"))?];
        Ok((
            columns,
            [
                board.push(columns[0], card("a"))?,
                board.push(columns[0], card("b"))?,
                board.push(columns[0], card("c"))?,
            ],
        ))
    });
    let (columns, cards) = ids.expect("it can be written");
    (store, columns, cards)
}

fn shown(cards: &Groups<Column, Card>) -> String {
    let texts = |items: Vec<&Card>| {
        items.into_iter().map(|card| card.text.as_str()).collect::<Vec<_>>().join(" ")
    };
    let mut rows: Vec<String> = cards
        .iter()
        .map(|(_, column, items)| format!("{}[{}]", column.title, texts(items.iter().collect())))
        .collect();
    let ungrouped: Vec<&Card> = cards.ungrouped().map(|(_, card)| card).collect();
    if !ungrouped.is_empty() {
        rows.push(format!("[{}]", texts(ungrouped)));
    }
    rows.join(" ")
}

fn check<B: Backend>(store: &Store<Board, B>, expected: &str) {
    assert_eq!(shown(&store.view().cards), expected);
    assert_eq!(*store.view(), store.reread());
}

/// Runs a test on both backends.
macro_rules! both {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn on_yrs() {
                super::$name::<exostate::Yrs>();
            }
            #[test]
            fn on_automerge() {
                super::$name::<exostate::Automerge>();
            }
        }
    )*};
}

both!(
    items_and_groups_are_edited,
    missing_groups_items_and_places_are_errors,
    an_undo_takes_back_the_move_alone,
    an_undo_restores_a_removed_group_with_later_items,
    ungrouped_items_are_moved_to_a_group,
    reconciling_writes_only_differences,
    watchers_hear_of_items_and_groups,
    an_older_struct_moves_unknown_fields,
    a_list_within_a_record_is_removed_with_it,
    an_id_is_a_scalar,
    a_copy_is_edited_and_reconciled,
    a_restored_item_has_its_id,
    groups_are_gone_through_filled_and_emptied,
    items_pushed_by_two_at_one_place_stay_together,
);

fn items_and_groups_are_edited<B: Backend>() {
    let (store, [todo, done], [a, b, c]) = board::<B>();
    check(&store, "todo[a b c] done[]");
    store.change(|board| board.cards().move_to(b, done, 0)).expect("it can be moved");
    check(&store, "todo[a c] done[b]");
    store.change(|board| board.cards().move_to(a, todo, 1)).expect("it can be moved");
    check(&store, "todo[c a] done[b]");
    store
        .change(|board| board.cards().insert(done, 1, card("d")).map(drop))
        .expect("it can be inserted");
    store
        .change(|board| board.cards().insert_group(1, column("doing")).map(drop))
        .expect("it can be inserted");
    check(&store, "todo[c a] doing[] done[b d]");
    store
        .change(|board| {
            board.cards().move_group(done, 0)?;
            board.cards().get(c).text().set("C")?;
            board.cards().group(done).title().set("Done")
        })
        .expect("it can be edited");
    check(&store, "Done[b d] todo[C a] doing[]");
    let view = store.view();
    assert_eq!((view.cards.get(c), view.cards.group_of(c)), (Some(&card("C")), Some(todo)));
    assert_eq!(
        (view.cards.group(done), view.cards.items(done).index_of(b)),
        (Some(&column("Done")), Some(0))
    );
    assert_eq!((view.cards.len(), view.cards.is_empty(), view.cards.groups().len()), (4, false, 3));
    assert!(store.change(|board| board.cards().remove(c)).expect("it can be removed"));
    assert!(store.change(|board| board.cards().remove_group(done)).expect("it can be removed"));
    check(&store, "todo[a] doing[]");
    assert!(store.view().cards.items(done).is_empty());
}

type Change<'a> =
    &'a dyn Fn(&<Board as State>::Node<exostate::Edit<'_>>) -> Result<(), ChangeError>;

fn missing_groups_items_and_places_are_errors<B: Backend>() {
    let (store, [todo, done], [a, b, _]) = board::<B>();
    assert!(store.change(|board| board.cards().remove_group(done)).expect("it can be removed"));
    assert!(!store.change(|board| board.cards().remove_group(done)).expect("it is gone"));
    assert!(store.change(|board| board.cards().remove(b)).expect("it can be removed"));
    assert!(!store.change(|board| board.cards().remove(b)).expect("it is gone"));
    let error = |edit: Change| match store.change(|board| edit(&board)) {
        Err(error) => error.to_string(),
        Ok(()) => panic!("it is refused"),
    };
    assert_eq!(
        error(&|board| board.cards().push(done, card("x")).map(drop)),
        format!("cards/groups/{done}: there is nothing here")
    );
    assert_eq!(
        error(&|board| board.cards().move_to(a, done, 0)),
        format!("cards/groups/{done}: there is nothing here")
    );
    assert_eq!(
        error(&|board| board.cards().move_to(b, todo, 0)),
        format!("cards/items/{b}: there is nothing here")
    );
    assert_eq!(
        error(&|board| board.cards().move_to(a, todo, 2)),
        "cards: 2..2 is not within the length 1"
    );
    assert_eq!(
        error(&|board| board.cards().insert(todo, 3, card("x")).map(drop)),
        "cards: 3..3 is not within the length 2"
    );
    assert_eq!(
        error(&|board| board.cards().get(b).text().set("x")),
        format!("cards/items/{b}/text: there is nothing here")
    );
    check(&store, "todo[a c]");
}

fn an_undo_takes_back_the_move_alone<B: Backend>() {
    let (store, [_, done], [a, ..]) = board::<B>();
    let undo = store.undo_manager(UndoOptions::new());
    store.change(|board| board.cards().move_to(a, done, 0)).expect("it can be moved");
    let other = store.fork().expect("a fork");
    other
        .change(|board| {
            board.cards().get(a).text().set("A")?;
            board.cards().push(done, card("d")).map(drop)
        })
        .expect("it can be edited");
    store.merge(&other).expect("an honest update");
    check(&store, "todo[b c] done[A d]");
    assert!(undo.undo().expect("it can be undone").is_some());
    check(&store, "todo[A b c] done[d]");
    assert!(undo.redo().expect("it can be redone").is_some());
    check(&store, "todo[b c] done[A d]");
}

fn an_undo_restores_a_removed_group_with_later_items<B: Backend>() {
    let (store, [todo, _], _) = board::<B>();
    let undo = store.undo_manager(UndoOptions::new());
    let other = store.fork().expect("a fork");
    assert!(store.change(|board| board.cards().remove_group(todo)).expect("it can be removed"));
    other
        .change(|board| board.cards().push(todo, card("late")).map(drop))
        .expect("it can be pushed");
    store.merge(&other).expect("an honest update");
    check(&store, "done[] [late]");
    assert!(undo.undo().expect("it can be undone").is_some());
    check(&store, "todo[a b c late] done[]");
}

fn ungrouped_items_are_moved_to_a_group<B: Backend>() {
    let (store, [todo, done], _) = board::<B>();
    let other = store.fork().expect("a fork");
    assert!(store.change(|board| board.cards().remove_group(done)).expect("it can be removed"));
    other
        .change(|board| {
            board.cards().push(done, card("x"))?;
            board.cards().push(done, card("y"))
        })
        .expect("it can be pushed");
    store.merge(&other).expect("an honest update");
    check(&store, "todo[a b c] [x y]");
    let view = store.view();
    let lost: Vec<ElementId> = view.cards.ungrouped().map(|(id, _)| id).collect();
    assert_eq!((view.cards.group_of(lost[0]), view.cards.get(lost[0])), (None, Some(&card("x"))));
    let before = store.version();
    store.reconcile(&Board::clone(&view)).expect("it can be written");
    assert_eq!(store.version(), before, "what is ungrouped stays as it is");
    store
        .change(|board| {
            let end = view.cards.items(todo).len();
            board.cards().get(lost[1]).done().set(true)?;
            lost.iter().rev().try_for_each(|id| board.cards().move_to(*id, todo, end))
        })
        .expect("it can be moved");
    check(&store, "todo[a b c x y]");
    assert_eq!(store.view().cards.items(todo).index_of(lost[1]), Some(4));
}

fn reconciling_writes_only_differences<B: Backend>() {
    let (store, [_, done], [a, b, c]) = board::<B>();
    let other = store.fork().expect("a fork");
    let mut edited = Board::clone(&store.view());
    assert!(edited.cards.move_to(c, done, 0));
    edited.cards.get_mut(a).expect("a card").text = "A".to_owned();
    let before = store.version();
    store.reconcile(&Board::clone(&store.view())).expect("it can be written");
    assert_eq!(store.version(), before, "nothing differs");
    store.reconcile(&edited).expect("it can be written");
    other
        .change(|board| {
            board.cards().get(a).done().set(true)?;
            board.cards().get(c).text().set("C")?;
            board.cards().move_to(b, done, 0)
        })
        .expect("it can be edited");
    store.merge(&other).expect("an honest update");
    let view = store.view();
    assert_eq!((view.cards.group_of(b), view.cards.group_of(c)), (Some(done), Some(done)));
    assert_eq!(view.cards.get(a), Some(&Card { text: "A".to_owned(), done: true }));
    assert_eq!(view.cards.get(c), Some(&card("C")), "the move is one register");

    // Without ids, elements are found by content, in order. The rest replace the others.
    let mut named = Groups::new();
    let first = named.push_group(column("todo"));
    let second = named.push_group(column("Finished"));
    named.push(first, Card { text: "A".to_owned(), done: true });
    named.push(second, card("new"));
    view.cards.items(done).iter().for_each(|card| _ = named.push(second, card.clone()));
    store.reconcile(&Board { cards: named.clone(), chosen: None }).expect("it can be written");
    assert_eq!(store.view().cards, named);
    assert!(
        [a, b, c].iter().all(|id| store.view().cards.get(*id).is_some()),
        "what is equal is the same item"
    );
    assert_eq!(*store.view(), store.reread());
}

fn watchers_hear_of_items_and_groups<B: Backend>() {
    let (store, [todo, done], [a, b, _]) = board::<B>();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = |what: &'static str| {
        let heard = Arc::clone(&heard);
        move |path: &str| heard.lock().expect("no panic").push(format!("{what} {path}"))
    };
    let items = hear("item");
    let groups = hear("group");
    let all = hear("all");
    let one = hear("one");
    let _watches = [
        store.watch(Board::path().cards().any().text(), move |patch| items(patch.path())),
        store.watch(Board::path().cards().any_group(), move |patch| groups(patch.path())),
        store.watch(Board::path().cards(), move |patch| all(patch.path())),
        store.watch(Board::path().cards().get(b).done(), move |patch| one(patch.path())),
    ];
    let heard = || std::mem::take(&mut *heard.lock().expect("no panic"));
    store.change(|board| board.cards().get(a).text().set("A")).expect("it can be edited");
    assert_eq!(heard(), [format!("item cards/items/{a}/text"), "all cards".to_owned()]);
    store.change(|board| board.cards().group(done).title().set("D")).expect("it can be edited");
    assert_eq!(heard(), [format!("group cards/groups/{done}"), "all cards".to_owned()]);
    store.change(|board| board.cards().move_to(b, done, 0)).expect("it can be moved");
    assert_eq!(heard(), ["all cards"]);
    store.change(|board| board.cards().get(b).done().set(true)).expect("it can be edited");
    assert_eq!(heard(), ["all cards".to_owned(), format!("one cards/items/{b}/done")]);
    // A selector reads the same values as a closure.
    let first =
        store.select(move |board| board.cards().value().map(|cards| cards.items(todo).len()));
    assert_eq!(*first.get(), Some(2));
    store.change(|board| board.cards().move_to(a, done, 0)).expect("it can be moved");
    assert_eq!(*first.get(), Some(1));
}

#[derive(State, Clone, Debug, PartialEq)]
struct OldBoard {
    cards: Groups<OldColumn, OldCard>,
}

#[derive(State, Clone, Debug, PartialEq)]
struct OldColumn {}

#[derive(State, Clone, Debug, PartialEq)]
struct OldCard {
    done: bool,
}

fn an_older_struct_moves_unknown_fields<B: Backend>() {
    let (store, [todo, done], [a, b, _]) = board::<B>();
    let old = Store::<OldBoard, B>::open(&store.save()).expect("an older struct opens it");
    old.change(|board| {
        board.cards().get(a).done().set(true)?;
        board.cards().move_to(a, done, 0)?;
        board.cards().move_group(done, 0)
    })
    .expect("it can be moved");
    let mut copy = OldBoard::clone(&old.view());
    assert!(copy.cards.move_to(b, done, 1));
    old.reconcile(&copy).expect("it can be written");
    let again = Store::<Board, B>::open(&old.save()).expect("it opens");
    check(&again, "done[a b] todo[c]");
    assert!(again.view().cards.get(a).is_some_and(|card| card.done));
    // A removal also removes the fields that this struct does not know.
    assert!(old.change(|board| board.cards().remove_group(todo)).expect("it can be removed"));
    assert_eq!(
        shown(&Store::<Board, B>::open(&old.save()).expect("it opens").view().cards),
        "done[a b]"
    );
}

#[derive(State, Clone, Debug, PartialEq)]
struct Boards {
    boards: MovableList<Board>,
}

fn a_list_within_a_record_is_removed_with_it<B: Backend>() {
    let store = Store::<Boards, B>::new();
    let mut first = Board::default();
    let todo = first.cards.push_group(column("todo"));
    first.cards.push(todo, card("a"));
    first.cards.push(todo, card("b"));
    let id = store.change(|state| state.boards().push(first.clone())).expect("it can be written");
    assert_eq!(store.view().boards.by_id(id), Some(&first));
    assert_eq!(*store.view(), store.reread());
    // Equal elements are found by content.
    let before = store.version();
    store.reconcile(&Boards { boards: MovableList::from([first]) }).expect("it can be written");
    assert_eq!(store.version(), before);
    assert!(store.change(|state| state.boards().remove(id)).expect("it can be removed"));
    assert!(store.view().boards.is_empty() && store.reread().boards.is_empty());
}

fn an_id_is_a_scalar<B: Backend>() {
    let (store, _, [a, ..]) = board::<B>();
    store.change(|board| board.chosen().set(a)).expect("it can be written");
    assert_eq!(store.view().chosen, Some(a));
    let mut copy = Groups::<Column, Card>::new();
    let detached = copy.push_group(column("x"));
    let refused = store.change(|board| board.chosen().set(detached));
    assert!(refused.is_err_and(|error| {
        error.to_string().contains("chosen: the id is of an element of a copy")
    }));
    assert!(ElementId::default().is_nil() && !a.is_nil());
    // A value that is not an id is a violation, as everywhere.
    #[derive(State, Clone, Debug, PartialEq)]
    struct Wrong {
        chosen: String,
    }
    for text in ["here", "ffffffffffffffff-0", "03-1"] {
        let wrong = Store::<Wrong, B>::new();
        wrong.change(|state| state.chosen().set(text)).expect("it can be written");
        let read = Store::<Board, B>::open(&wrong.save()).expect("it opens");
        assert_eq!((read.view().chosen, read.violations().len()), (None, 1), "{text}");
    }
}

fn a_copy_is_edited_and_reconciled<B: Backend>() {
    let (store, [todo, done], [a, b, c]) = board::<B>();
    let mut copy = Board::clone(&store.view());
    assert!(
        !copy.cards.move_to(a, ElementId::default(), 0)
            && !copy.cards.move_to(ElementId::default(), done, 0)
    );
    assert!(copy.cards.move_to(a, done, 9));
    assert_eq!(copy.cards.remove(b), Some(card("b")));
    copy.cards.group_mut(todo).expect("a column").title = "later".to_owned();
    let new = copy.cards.push(done, card("new"));
    let nowhere = copy.cards.push(ElementId::default(), card("nowhere"));
    assert_eq!((copy.cards.group_of(new), copy.cards.group_of(nowhere)), (Some(done), None));
    store.reconcile(&copy).expect("it can be written");
    check(&store, "later[c] done[a new] [nowhere]");
    let mut copy = Board::clone(&store.view());
    assert_eq!(copy.cards.remove_group(done), Some(column("done")));
    store.reconcile(&copy).expect("it can be written");
    check(&store, "later[c] [nowhere]");
    assert!(store.view().cards.get(c).is_some());
}

fn a_restored_item_has_its_id<B: Backend>() {
    let (store, [todo, done], [a, ..]) = board::<B>();
    let history = store.history(exostate::HistoryOptions::new()).expect("a history");
    let was = history.name("before").expect("it can be named");
    assert!(store.change(|board| board.cards().remove_group(todo)).expect("it can be removed"));
    store.change(|board| board.cards().push(done, card("x")).map(drop)).expect("it can be pushed");
    history.restore(was).expect("it can be restored");
    check(&store, "todo[a b c] done[]");
    assert_eq!(store.view().cards.group_of(a), Some(todo));
}

fn groups_are_gone_through_filled_and_emptied<B: Backend>() {
    let (store, [todo, done], [a, ..]) = board::<B>();
    let other = store.fork().expect("a fork");
    store
        .change(|board| {
            let board = board.cards();
            assert_eq!(board.extend(done, ["x", "y"].map(card))?.len(), 2);
            for (id, card) in board.iter_ids(todo)? {
                board.get(id).done().set(card.text == "a")?;
            }
            for (id, column) in board.iter_groups()? {
                board.group(id).title().set(column.title.to_uppercase())?;
            }
            assert_eq!((board.len()?, board.is_empty()?), (5, false));
            Ok(())
        })
        .expect("it can be written");
    check(&store, "TODO[a b c] DONE[x y]");
    assert!(store.view().cards.get(a).is_some_and(|card| card.done));
    store.change(|board| board.cards().clear()).expect("it can be emptied");
    check(&store, "");
    other
        .change(|board| board.cards().push(done, card("late")).map(drop))
        .expect("it can be pushed");
    store.merge(&other).expect("an honest update");
    check(&store, "[late]");
}

fn items_pushed_by_two_at_one_place_stay_together<B: Backend>() {
    let (store, [_, done], _) = board::<B>();
    let other = store.fork().expect("a fork");
    store
        .change(|board| board.cards().extend(done, ["milk", "bread", "eggs"].map(card)))
        .expect("it can be pushed");
    other
        .change(|board| board.cards().extend(done, ["saw", "nails", "glue"].map(card)))
        .expect("it can be pushed");
    store.merge(&other).expect("an honest update");
    let found = shown(&store.view().cards);
    assert!(
        found.ends_with("[milk bread eggs saw nails glue]")
            || found.ends_with("[saw nails glue milk bread eggs]"),
        "runs stay runs: {found}"
    );
}

/// Whatever the replicas do, an item that no replica removed is there exactly once.
fn never_lost_nor_doubled<B: Backend>(steps: &[(usize, u8, u16, u16, Option<usize>)]) {
    let (first, _, _) = board::<B>();
    let stores = [first.fork().expect("a fork"), first.fork().expect("a fork"), first];
    let mut made: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
    for (number, (at, kind, x, y, hears)) in steps.iter().enumerate() {
        let store = &stores[at % 3];
        let cards = store.view().cards.clone();
        let groups: Vec<ElementId> = cards.groups().iter_ids().map(|(id, _)| id).collect();
        let items: Vec<ElementId> = cards
            .iter()
            .flat_map(|(_, _, items)| items.iter_ids())
            .chain(cards.ungrouped())
            .map(|(id, _)| id)
            .collect();
        let of = |ids: &[ElementId], choice: u16| {
            ids.get(usize::from(choice) % ids.len().max(1)).copied()
        };
        match (kind % 5, of(&groups, *x), of(&items, *y)) {
            (0, _, _) => store
                .change(|board| board.cards().push_group(column("new")).map(drop))
                .expect("it can be made"),
            (1, Some(group), _) => {
                made.insert(number.to_string());
                store
                    .change(|board| board.cards().push(group, card(&number.to_string())).map(drop))
                    .expect("it can be made");
            }
            // Only groups that are empty here are removed, so that no replica removes an item.
            (2, Some(group), _) if cards.items(group).is_empty() => {
                assert!(
                    store
                        .change(|board| board.cards().remove_group(group))
                        .expect("it can be removed")
                );
            }
            (3 | 4, Some(group), Some(item)) => store
                .change(|board| board.cards().move_to(item, group, 0))
                .expect("it can be moved"),
            _ => {}
        }
        if let Some(other) = hears {
            store.merge(&stores[other % 3]).expect("an honest update");
        }
    }
    for _ in 0..2 {
        stores[0].merge(&stores[1]).expect("an honest update");
        stores[0].merge(&stores[2]).expect("an honest update");
        stores[1].merge(&stores[0]).expect("an honest update");
        stores[2].merge(&stores[0]).expect("an honest update");
    }
    for store in &stores {
        let view = store.view();
        let items = view.cards.iter().flat_map(|(_, _, items)| items.iter_ids());
        let mut found: Vec<String> =
            items.chain(view.cards.ungrouped()).map(|(_, card)| card.text.clone()).collect();
        found.sort();
        assert_eq!(found, made.iter().cloned().collect::<Vec<_>>());
        assert_eq!((&*view, store.digest()), (&*stores[0].view(), stores[0].digest()));
        assert_eq!(*view, store.reread());
    }
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn an_item_is_never_lost_nor_doubled(
        steps in prop::collection::vec(
            (
                0..3usize,
                any::<u8>(),
                any::<u16>(),
                any::<u16>(),
                prop::option::weighted(0.3, 0..3usize),
            ),
            0..24,
        ),
    ) {
        never_lost_nor_doubled::<Yrs>(&steps);
        never_lost_nor_doubled::<Automerge>(&steps);
    }
}
