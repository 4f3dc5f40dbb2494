//! Promise: a tree costs as much as its number of nodes, however deep it is. This holds for writing
//! it, receiving it, opening it and removing it.
//!
//! Work is counted, not timed: by the memory that it allocates.

#[path = "support/one_update.rs"]
mod one_update;

use exostate::{Automerge, Backend, ElementId, Options, ReplicaId, Store, Tree, Yrs};
use one_update::OneUpdate;

type Outline<B> = Store<Tree<String>, B>;

fn store<B: Backend>(id: u64) -> Outline<B> {
    Store::with_options(Options::new().with_replica(ReplicaId::from_bits(id)))
}

/// Each node is the child of the one before it.
fn chain(depth: usize) -> Tree<String> {
    let mut tree = Tree::new();
    let mut last: Option<ElementId> = None;
    (0..depth).for_each(|index| last = Some(tree.push(last, index.to_string())));
    tree
}

fn depth(tree: &Tree<String>) -> usize {
    tree.walk().last().map_or(0, |(depth, _, _)| depth + 1)
}

/// How many bytes each operation on a chain allocates.
fn costs<B: Backend>(size: usize) -> Vec<(&'static str, u64)> {
    let here = store::<B>(1);
    let there = store::<B>(2);
    let chain = chain(size);
    let mut costs = Vec::new();
    let mut cost =
        |name, work: &dyn Fn()| costs.push((name, allocation_counter::measure(work).bytes_total));
    cost("writing it", &|| here.reconcile(&chain).expect("it can be written"));
    let saved = here.save();
    let version = here.version();
    cost("hearing of it", &|| _ = there.apply(&saved).expect("an honest update"));
    cost("opening it", &|| {
        assert_eq!(depth(&Outline::<B>::open(&saved).expect("an honest document").view()), size)
    });
    assert_eq!((depth(&here.view()), depth(&there.view())), (size, size));
    let root = here.view().children(None).next().expect("a root");
    cost("removing it", &|| _ = here.change(|tree| tree.remove(root)).expect("it can be removed"));
    let update = here.update_since(&version).expect("an update");
    cost("hearing of its end", &|| _ = there.apply(&update).expect("an honest update"));
    assert!(here.view().is_empty() && there.view().is_empty());
    costs
}

/// The deep tree is this many times as deep as the other one.
const GROWTH: usize = 8;

/// Code that climbs the tree once for each node would cost 64 times as much.
fn run<B: Backend>() {
    for ((name, small), (_, large)) in costs::<B>(500).into_iter().zip(costs::<B>(500 * GROWTH)) {
        assert!(
            large <= 2 * GROWTH as u64 * small,
            "{name} cost {small} bytes in the small tree, {large} in the deep one"
        );
    }
}

#[test]
fn on_yrs() {
    run::<Yrs>();
}

#[test]
fn on_automerge() {
    run::<Automerge>();
}

/// A type that contains itself, in a document whose paths have thousands of names.
#[test]
fn a_view_of_a_type_in_itself_is_bounded() {
    use exostate::{Document, Map, State};

    #[derive(State, Clone, Debug, PartialEq)]
    struct Forest(Map<String, Forest>);

    fn check<B: Backend>() {
        let path = |depth: usize| vec!["a"; depth].join("/");
        let document = Document::<B>::new();
        let store = Store::<Forest, B>::on(&document);
        for depths in [1..100, 100..140, 140..1_000] {
            let edited = document.edit(|edit| {
                depths.clone().try_for_each(|depth| edit.set(path(depth).as_str(), true))
            });
            edited.expect("written");
            assert_eq!(store.reread(), *store.view());
        }
        let mut depth = 0;
        let mut forest: &Forest = &store.view();
        while let Some(next) = forest.0.get("a") {
            (forest, depth) = (next, depth + 1);
        }
        assert_eq!(depth, 128);
        // What nobody would see is not written; what lies deep is removed with its record.
        let deep = (0..127)
            .fold(Forest(Map::new()), |inner, _| Forest(Map::from_iter([("b".to_owned(), inner)])));
        let one_more = Forest(Map::from_iter([("b".to_owned(), deep.clone())]));
        store.change(|forest| forest.insert("b", deep)).expect("128 names");
        let error = store.change(|forest| forest.insert("c", one_more)).expect_err("129 names");
        assert!(error.to_string().contains("more than 128 names"), "{error}");
        store.change(|forest| forest.remove("a")).expect("removed");
        assert_eq!(document.registers("a"), []);
    }
    check::<Yrs>();
    check::<Automerge>();
}

/// Elements, nodes and items at the deepest place, with their positions, and what lies deeper.
#[test]
fn a_refresh_shows_what_a_read_shows_at_the_deepest_place() {
    use exostate::{
        Counter, Document, Groups, List, Map, MovableList, Set, State, Text, UndoOptions,
    };

    #[derive(State, Clone, Debug, PartialEq)]
    struct Deep {
        a: Map<String, Deep>,
        elements: MovableList<String>,
        nodes: Tree<String>,
        groups: Groups<String, String>,
        text: Text,
        list: List<u8>,
        set: Set<u8>,
        votes: Counter,
        title: String,
    }

    let document = Document::<Yrs>::new();
    let store = Store::<Deep>::on(&document);
    let undo = store.undo_manager(UndoOptions::default());
    let markers = (1..70).map(|depth| vec!["a/k"; depth].join("/"));
    let markers: Vec<String> = markers.collect();
    let edited =
        document.edit(|edit| markers.iter().try_for_each(|path| edit.set(path.as_str(), true)));
    edited.expect("written");
    for depth in [62, 63, 64] {
        let record = vec!["a/k"; depth].join("/");
        for (path, value) in [
            ("elements/1-1", "one"),
            ("elements/1-2", "two"),
            ("nodes/1-1", "one"),
            ("nodes/1-2", "two"),
            ("nodes/1-2/@place", "1-1:80"),
            ("groups/groups/1-1", "one"),
            ("groups/items/1-2", "two"),
            ("groups/items/1-2/@place", "1-1:80"),
            ("title", "deep"),
        ] {
            let path = format!("{record}/{path}");
            let value = exostate::Value::from(value);
            document.edit(|edit| edit.set(path.as_str(), value)).expect("written");
            assert_eq!(format!("{:?}", store.reread()), format!("{:?}", store.view()), "{path}");
        }
        for (path, value) in [
            ("elements/1-1/@position", exostate::Value::Bytes([0x90].into())),
            ("elements/1-2/@position", exostate::Value::Bytes([0x80].into())),
            ("votes/1", 3.into()),
            ("set/1", true.into()),
        ] {
            let path = format!("{record}/{path}");
            document.edit(|edit| edit.set(path.as_str(), value)).expect("written");
            assert_eq!(format!("{:?}", store.reread()), format!("{:?}", store.view()), "{path}");
        }
    }
    // What another program wrote too deep is removed with its record, and comes back with it.
    let saved = document.registers("a/k");
    store.change(|state| state.a().remove("k")).expect("removed");
    assert_eq!(document.registers("a"), []);
    assert!(undo.undo().expect("undone").is_some());
    assert_eq!(document.registers("a/k"), saved);
}
