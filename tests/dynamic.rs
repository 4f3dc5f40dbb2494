//! A state whose type is a schema shows what the typed state shows, and writes what it writes.

mod support;

use exostate::{Automerge, Backend, Document, Dynamic, Options, ReplicaId, State, Store, Yrs};
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use support::{Everything, Op, dynamic_edits, strategy};

fn document<B: Backend>(id: u64) -> Document<B> {
    Document::with_options(Options::new().with_replica(ReplicaId::from_bits(id)))
}

fn dynamic<B: Backend>(document: &Document<B>) -> Store<Dynamic, B> {
    Store::dynamic(document, &Everything::schema()).expect("a schema of a Rust type")
}

fn json(view: &impl serde::Serialize) -> Json {
    serde_json::to_value(view).expect("JSON")
}

/// Two documents with a typed and a dynamic store each, which edit and merge.
fn shows_the_same<B: Backend>(steps: &[(bool, bool, Op, bool)]) {
    let documents = [document::<B>(1), document(2)];
    let stores = documents.each_ref().map(|one| (Store::<Everything, B>::on(one), dynamic(one)));
    for (second, by_schema, op, merges) in steps {
        let (typed, untyped) = &stores[usize::from(*second)];
        match by_schema {
            true => untyped.change(|state| dynamic_edits::edit(&state, op)).expect("it fits"),
            false => support::apply(typed, op),
        }
        if *merges {
            documents[0].merge(&documents[1]).expect("merged");
            documents[1].merge(&documents[0]).expect("merged");
        }
        for (typed, untyped) in &stores {
            assert_eq!(json(&*typed.view()), json(&*untyped.view()), "after {op:?}");
            assert_eq!(json(&untyped.reread()), json(&*untyped.view()), "after {op:?}");
            assert_eq!(typed.violations(), untyped.violations());
        }
    }
}

/// The same edits of two documents with one replica id, one of them by the schema.
fn writes_the_same<B: Backend>(ops: &[Op]) {
    let (ours, theirs) = (document::<B>(7), document::<B>(7));
    let (typed, untyped) = (Store::<Everything, B>::on(&ours), dynamic(&theirs));
    for op in ops {
        support::apply(&typed, op);
        untyped.change(|state| dynamic_edits::edit(&state, op)).expect("it fits");
        assert_eq!(ours.save(), theirs.save(), "after {op:?}");
    }
}

/// A whole state as JSON, which another state is turned into.
fn reconciles_the_same<B: Backend>(from: &[Op], to: &[Op]) {
    let [ours, theirs, wanted] = [document::<B>(7), document(7), document(8)];
    let (typed, untyped) = (Store::<Everything, B>::on(&ours), dynamic(&theirs));
    for op in from {
        support::apply(&typed, op);
        untyped.change(|state| dynamic_edits::edit(&state, op)).expect("it fits");
    }
    let wanted = Store::<Everything, B>::on(&wanted);
    to.iter().for_each(|op| support::apply(&wanted, op));
    let wanted = json(&*wanted.view());
    let parsed: Everything = serde_json::from_value(wanted.clone()).expect("it was written");
    typed.reconcile(&parsed).expect("reconciled");
    untyped.change(|state| state.reconcile_json(&wanted)).expect("reconciled");
    assert_eq!(ours.save(), theirs.save());
    assert_eq!(json(&*untyped.view()), json(&*typed.view()));
}

fn steps() -> impl Strategy<Value = Vec<(bool, bool, Op, bool)>> {
    let step = (any::<bool>(), any::<bool>(), strategy::op(), prop::bool::weighted(0.3));
    prop::collection::vec(step, 0..16)
}

proptest! {
    #![proptest_config(strategy::config())]

    #[test]
    fn it_shows_what_the_typed_state_shows_on_yrs(steps in steps()) {
        shows_the_same::<Yrs>(&steps);
    }

    #[test]
    fn it_shows_what_the_typed_state_shows_on_automerge(steps in steps()) {
        shows_the_same::<Automerge>(&steps);
    }

    #[test]
    fn the_same_edits_make_the_same_ops_on_yrs(ops in strategy::ops(16)) {
        writes_the_same::<Yrs>(&ops);
    }

    #[test]
    fn the_same_edits_make_the_same_ops_on_automerge(ops in strategy::ops(16)) {
        writes_the_same::<Automerge>(&ops);
    }

    #[test]
    fn plain_data_is_reconciled_with_the_same_ops_on_yrs(
        from in strategy::ops(12), to in strategy::ops(12),
    ) {
        reconciles_the_same::<Yrs>(&from, &to);
    }

    #[test]
    fn plain_data_is_reconciled_with_the_same_ops_on_automerge(
        from in strategy::ops(12), to in strategy::ops(12),
    ) {
        reconciles_the_same::<Automerge>(&from, &to);
    }
}

#[test]
fn an_empty_document_shows_the_defaults() {
    let document = document::<Yrs>(1);
    assert_eq!(json(&*dynamic(&document).view()), json(&*Store::<Everything>::new().view()));
    drop(json!(null));
}
