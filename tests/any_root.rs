//! The whole state may be of any type, not only a struct.

mod support;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use exostate::{
    AsPath, Automerge, Backend, ChangeError, Counter, Edit, List, Map, MovableList, Path, Set,
    State, Store, Text, Tree, Yrs,
};
use support::Shape;

type Change<S> = fn(<S as State>::Node<Edit<'_>>) -> Result<(), ChangeError>;

/// After each change of one replica, the views of that replica and of a second one that receives
/// the change are equal to their documents.
fn root<S: State + PartialEq + Debug, B: Backend>(edits: &[Change<S>])
where
    S::Node<Path<S>>: AsPath<S>,
{
    let ours = Store::<S, B>::new();
    let theirs = Store::<S, B>::new();
    let heard = Arc::new(AtomicUsize::new(0));
    let sink = heard.clone();
    let _watch = theirs.watch(S::path(), move |_| _ = sink.fetch_add(1, Ordering::Relaxed));
    for edit in edits {
        let before = ours.view();
        ours.change(edit).expect("it can be written");
        assert_ne!(ours.view(), before, "nothing happened");
        assert_eq!(*ours.view(), ours.reread());
        theirs.merge(&ours).expect("an honest update");
        assert_eq!(*theirs.view(), *ours.view());
    }
    assert_eq!(
        heard.load(Ordering::Relaxed),
        edits.len(),
        "a watcher of the whole state hears of each"
    );
}

#[test]
fn the_whole_state_may_be_of_any_type() {
    fn run<B: Backend>() {
        root::<i64, B>(&[|state| state.set(1), |state| state.set(2)]);
        root::<Option<i64>, B>(&[
            |state| state.set(1),
            |state| state.set(2),
            |state| state.set(None),
        ]);
        root::<Text, B>(&[|state| state.push_str("ab"), |state| state.delete(0..1)]);
        root::<List<i64>, B>(&[
            |state| state.push(1),
            |state| state.push(2),
            |state| state.remove(0),
        ]);
        root::<Counter, B>(&[|state| state.add(1), |state| state.add(2)]);
        root::<Set<String>, B>(&[
            |state| state.insert("").map(drop),
            |state| state.insert("@").map(drop),
        ]);
        root::<MovableList<Text>, B>(&[
            |state| state.push("x".into()).map(drop),
            |state| state.insert(0, "y".into()).map(drop),
        ]);
        root::<Tree<Text>, B>(&[|state| state.push(None, "x".into()).map(drop)]);
        root::<Map<String, Text>, B>(&[
            |state| state.insert("", "x".into()),
            |state| state.insert("@", "y".into()),
            |state| state.get("").push_str("x"),
        ]);
        root::<Shape, B>(&[
            |state| state.reconcile(&Shape::Circle { radius: 1.0 }),
            |state| state.reconcile(&Shape::Label("a".into(), "b".into())),
            |state| state.reconcile(&Shape::Nothing),
        ]);
    }
    run::<Yrs>();
    run::<Automerge>();
}
