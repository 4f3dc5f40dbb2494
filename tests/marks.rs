//! Promise: a mark on text is the same on every replica, and a mark that cannot be represented is
//! refused when it is made.

mod support;

use exostate::{Automerge, Backend, Limits, Store, Text, Value, Yrs};
use proptest::prelude::*;
use support::Everything;

fn marked<B: Backend>(value: &Value) -> Store<Everything, B> {
    let store = support::store::<B>(1);
    store.change(|state| state.notes().push_str("marked and not")).expect("it can be written");
    store
        .change(|state| state.notes().mark(0..6, "kind", value.clone()))
        .expect("it can be marked");
    store
}

fn mark_at(text: &Text, at: usize) -> Option<Value> {
    text.marks_at(at).and_then(|marks| marks.get("kind").cloned())
}

fn arrives<B: Backend>(value: &Value) -> Result<(), TestCaseError> {
    let here = marked::<B>(value);
    let there = support::store::<B>(2);
    for update in here.updates_since(&there.version()).expect("its own backend") {
        there.apply(&update).expect("an update");
    }
    let opened = Store::<Everything, B>::open(&here.save()).expect("its own bytes");
    for store in [&here, &there, &opened] {
        prop_assert_eq!(mark_at(&store.view().notes, 3), Some(value.clone()));
        prop_assert_eq!(mark_at(&store.view().notes, 6), None);
        prop_assert_eq!(store.digest(), here.digest());
    }
    Ok(())
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |float| float.is_finite())
            .prop_map(|float| Value::from(float + 0.0)),
        "\\PC{0,20}".prop_map(Value::from),
    ]
}

proptest! {
    #[test]
    fn a_mark_says_the_same_everywhere(value in values()) {
        arrives::<Yrs>(&value)?;
        arrives::<Automerge>(&value)?;
    }
}

#[test]
fn a_float_that_is_whole_is_an_integer() {
    for (given, kept) in [(Value::Float(-0.0), 0), (Value::Float(3.0), 3)] {
        assert_eq!(mark_at(&marked::<Yrs>(&given).view().notes, 0), Some(Value::from(kept)));
        assert_eq!(mark_at(&marked::<Automerge>(&given).view().notes, 0), Some(Value::from(kept)));
    }
}

fn refused<B: Backend>() {
    let store = support::store::<B>(1);
    store.change(|state| state.notes().push_str("text")).expect("it can be written");
    let reason = |name: &str, value: Value| {
        store
            .change(|state| state.notes().mark(0..4, name, value))
            .expect_err("no replica could take it")
            .to_string()
    };
    assert_eq!(
        reason("m", Value::Bytes([1, 2].as_slice().into())),
        "notes: a mark cannot hold bytes"
    );
    assert_eq!(reason("m", Value::from(f64::NAN)), "notes: a mark cannot hold NaN");
    assert_eq!(reason("m", Value::from(f64::INFINITY)), "notes: a mark cannot hold inf");
    let most = (Limits::untrusted().bytes_max() - 2 * Limits::untrusted().name_bytes_max()) / 6;
    assert_eq!(
        reason("m", Value::from("\u{1}".repeat(most + 1))),
        format!("notes: a mark of {} bytes is more than the {most} that others take", most + 1)
    );
    assert_eq!(
        reason(&"n".repeat(4_097), true.into()),
        "notes: a mark's name of 4097 bytes is more than the 4096 that others take"
    );
    assert_eq!(mark_at(&store.view().notes, 0), None);
    store
        .change(|state| state.notes().mark(0..4, "kind", "\u{1}".repeat(most)))
        .expect("it is just not too large");
    let there = support::store::<B>(2);
    for update in store.updates_since(&there.version()).expect("its own backend") {
        there.apply(&update).expect("an update that strangers take");
    }
    assert_eq!(there.digest(), store.digest());
}

#[test]
fn invalid_mark_values_are_refused() {
    refused::<Yrs>();
    refused::<Automerge>();
}

/// Other software marks text with maps. Text typed after such a mark does not get the mark, neither
/// here nor on another replica.
#[test]
fn text_behind_a_mark_of_an_unknown_kind_is_the_same_everywhere() {
    use yrs::{Any, ReadTxn, Text as _, Transact};
    let foreign = yrs::Doc::with_client_id(7);
    let text = foreign.get_or_insert_text("T:notes");
    let address = Any::Map(std::sync::Arc::new([("href".to_owned(), Any::from("example"))].into()));
    text.insert_with_attributes(
        &mut foreign.transact_mut(),
        0,
        "link",
        [("kind".into(), address)].into(),
    );
    let update = foreign.transact().encode_diff_v1(&yrs::StateVector::default());
    let here = support::store::<Yrs>(1);
    let there = support::store::<Yrs>(2);
    here.apply(&update).expect("an update");
    here.change(|state| state.notes().push_str(" and more")).expect("it can be written");
    there.merge(&here).expect("an update");
    let view = here.view();
    assert!(matches!(mark_at(&view.notes, 0), Some(Value::Unknown(_))));
    assert_eq!(mark_at(&view.notes, 4), None);
    assert_eq!((there.digest(), there.view()), (here.digest(), here.view()));
    let copy = support::store::<Yrs>(3);
    copy.reconcile(&view).expect("what is known of it can be written");
    assert_eq!(copy.view().notes.to_string(), "link and more");
    assert_eq!(mark_at(&copy.view().notes, 0), None);
}

/// Marks that other software made are copied to unmarked text, to text with another mark, and to
/// text that already has this mark.
#[test]
fn marks_that_cannot_be_written_are_left_out_of_copies() {
    use automerge::ReadDoc;
    use automerge::marks::{ExpandMark, Mark};
    use automerge::transaction::Transactable;
    let here = support::store::<Automerge>(1);
    here.change(|state| state.notes().push_str("link")).expect("it can be written");
    let mut foreign = automerge::AutoCommit::load(&here.save()).expect("a document");
    let buckets: Vec<_> = foreign
        .keys(automerge::ROOT)
        .filter_map(|key| foreign.get(automerge::ROOT, key).expect("a document"))
        .collect();
    let text =
        buckets.iter().find_map(|(_, bucket)| foreign.get(bucket, "T:notes").expect("a map"));
    let (_, text) = text.expect("the text");
    for (name, value) in [
        ("bytes", automerge::ScalarValue::Bytes(vec![1])),
        ("zero", automerge::ScalarValue::F64(-0.0)),
    ] {
        foreign
            .mark(&text, Mark::new(name.to_owned(), value, 0, 4), ExpandMark::After)
            .expect("it can be marked");
    }
    here.apply(&foreign.save()).expect("an update");
    let view = here.view();
    let names = |text: &Text| {
        text.marks_at(0).map(|marks| marks.keys().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(names(&view.notes), Some(vec!["bytes".to_owned(), "zero".to_owned()]));
    let copy = support::store::<Yrs>(2);
    for prepare in [false, true] {
        if prepare {
            copy.change(|state| state.notes().mark(0..4, "bytes", true)).expect("it can be marked");
        }
        copy.reconcile(&view).expect("what can be written is");
        assert_eq!(
            copy.view().notes.marks_at(0).map(|marks| (**marks).clone()),
            Some([("zero".into(), Value::from(0))].into())
        );
        assert_eq!(
            Store::<Everything, Yrs>::open(&copy.save()).expect("its own bytes").digest(),
            copy.digest()
        );
    }
    here.reconcile(&view).expect("nothing to do");
    assert_eq!(names(&here.view().notes), names(&view.notes));
}

/// Each mark is within the limit, but all together are not.
#[test]
fn many_large_marks_reach_strangers() {
    fn reaches<B: Backend>() {
        let store = support::store::<B>(1);
        let large = |at: u32| -> String {
            (0..600_000u32)
                .map(|byte| {
                    char::from(b'0' + (byte.wrapping_mul(2_654_435_761 + at) >> 20) as u8 % 64)
                })
                .collect()
        };
        let change = store.change(|state| {
            state.notes().push_str("abcdefghijkl")?;
            (0..12).try_for_each(|at| state.notes().mark(at..at + 1, "m", large(at as u32)))
        });
        change.expect("each is small enough");
        let there = support::store::<B>(2);
        for update in store.updates_since(&there.version()).expect("its own backend") {
            there.apply(&update).expect("an update that strangers take");
        }
        assert_eq!(there.digest(), store.digest());
    }
    reaches::<Yrs>();
    reaches::<Automerge>();
}

/// Text that replaces other text gets the marks of the first replaced character, in a store and in
/// a copy of its text.
fn splices<B: Backend>() {
    // 0..4 plain, 4..8 bold, 8..12 plain, 12..16 a link, directly after it 16..20 bold and a link.
    let begin = || {
        let store = support::store::<B>(1);
        let change = store.change(|state| {
            state.notes().push_str("aaaabbbbccccddddeeee")?;
            state.notes().mark(4..8, "bold", true)?;
            state.notes().mark(12..20, "link", "x")?;
            state.notes().mark(16..20, "bold", true)
        });
        change.expect("it can be written");
        store
    };
    let names = |text: &Text, at: usize| {
        text.marks_at(at)
            .map(|marks| marks.keys().map(ToString::to_string).collect::<Vec<_>>().join("+"))
            .unwrap_or_default()
    };
    let cases = [
        (4..8, "bold"),
        (5..7, "bold"),
        (4..5, "bold"),
        (7..8, "bold"),
        (4..20, "bold"),
        (2..8, ""),
        (0..4, ""),
        (8..12, ""),
        (12..16, "link"),
        (16..20, "bold+link"),
        (14..20, "link"),
        (0..20, ""),
        // If nothing is replaced, it gets the marks of the character before it.
        (4..4, ""),
        (8..8, "bold"),
        (0..0, ""),
        (20..20, "bold+link"),
    ];
    for (range, expected) in cases {
        let edited = begin();
        let reconciled = begin();
        edited
            .change(|state| state.notes().splice(range.clone(), "XYZ"))
            .expect("it can be written");
        let mut wanted = (*reconciled.view()).clone();
        wanted.notes.splice(range.clone(), "XYZ");
        reconciled.reconcile(&wanted).expect("it can be written");
        let opened = Store::<Everything, B>::open(&edited.save()).expect("its own bytes");
        for store in [&edited, &reconciled, &opened] {
            let notes = store.view().notes.clone();
            for at in range.start..range.start + 3 {
                assert_eq!(names(&notes, at), expected, "{range:?} at {at} on {}", B::NAME);
            }
            assert_eq!(notes.runs(), edited.view().notes.runs(), "{range:?} on {}", B::NAME);
            support::check_view(store);
        }
        // The text after it keeps its marks.
        let before = begin().view().notes.clone();
        let after = edited.view().notes.clone();
        for at in range.end..before.len() {
            assert_eq!(names(&after, at + 3 - range.len()), names(&before, at), "{range:?} behind");
        }
    }
}

#[test]
fn text_that_replaces_marked_text_has_its_marks() {
    splices::<Yrs>();
    splices::<Automerge>();
}

/// A word within a bold stretch is replaced with minimal edits, concurrently with edits of another
/// replica.
#[test]
fn text_that_replaces_a_bold_word_is_bold_beside_concurrent_edits() {
    fn run<B: Backend>() {
        let here = support::store::<B>(1);
        here.change(|state| {
            state.notes().push_str("so bold a word")?;
            state.notes().mark(3..14, "bold", true)
        })
        .expect("it can be written");
        let there = here.fork().expect("a fork");
        here.change(|state| state.notes().splice(3..7, "brave")).expect("it can be written");
        there.change(|state| state.notes().insert(0, "and ")).expect("it can be written");
        here.merge(&there).expect("an honest update");
        there.merge(&here).expect("an honest update");
        let runs: Vec<(String, bool)> = here
            .view()
            .notes
            .runs()
            .into_iter()
            .map(|(text, marks)| (text, marks.is_some()))
            .collect();
        assert_eq!(runs, [("and so ".to_owned(), false), ("brave a word".to_owned(), true)]);
        assert_eq!(here.digest(), there.digest());
    }
    run::<Yrs>();
    run::<Automerge>();
}
