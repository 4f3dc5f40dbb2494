//! Promise: if another replica writes under this replica's id, this replica takes another id before
//! its next edit. Nothing is lost, and a hostile peer cannot use up the ops of an id.

mod support;

use exostate::{Store, UndoOptions, Yrs};
use proptest::prelude::*;
use support::Everything;
use yrs::updates::decoder::Decode;
use yrs::{Any, Map as _, ReadTxn, Text as _, Transact, Update};

type Board = Store<Everything, Yrs>;

/// A document of yrs with the content of the store, and the same id.
fn double(store: &Board) -> yrs::Doc {
    let doc = yrs::Doc::with_client_id(store.replica().get());
    doc.transact_mut()
        .apply_update(Update::decode_v1(&store.save()).expect("an update"))
        .expect("it fits");
    doc
}

/// Writes under the store's id into another document. Returns the update.
fn write(doc: &yrs::Doc, key: &str, value: i64, text: &str) -> Vec<u8> {
    let before = doc.transact().state_vector();
    let registers = doc.get_or_insert_map("state");
    registers.insert(&mut doc.transact_mut(), key, Any::from(value));
    let notes = doc.get_or_insert_text("T:notes");
    notes.insert(&mut doc.transact_mut(), 0, text);
    doc.transact().encode_diff_v1(&before)
}

/// An update of one block: as many deleted ops as the clock has room for.
fn all_ops_of(id: u64, clock: u64, end: u64) -> Vec<u8> {
    let mut bytes = vec![1, 1];
    exostate::varint::put(&mut bytes, id);
    exostate::varint::put(&mut bytes, clock);
    // Deleted content, without origins, in a root of this name.
    bytes.extend([1, 1, 7]);
    bytes.extend(b"T:notes");
    exostate::varint::put(&mut bytes, end - clock);
    bytes.push(0);
    bytes
}

/// Both stores have everything from each other, and show the same.
fn converge(here: &Board, there: &Board) {
    for (from, to) in [(here, there), (there, here)] {
        for update in from.updates_since(&to.version()).expect("a version") {
            to.apply(&update).expect("an update");
        }
    }
    assert_eq!(here.view(), there.view());
    assert_eq!(here.digest(), there.digest());
    let reopened = Board::open(&here.save()).expect("its own bytes");
    assert_eq!(reopened.view(), here.view());
}

#[test]
fn a_replica_takes_another_id_if_its_own_is_used() {
    let (store, other) = (support::store::<Yrs>(1), support::store::<Yrs>(2));
    let undo = store.undo_manager(UndoOptions::new());
    store.change(|state| state.title().set("plan")).expect("it can be written");
    let first = store.replica();
    let update = write(&double(&store), "votes/1", 7, "theirs ");
    store.apply(&update).expect("an update");
    assert_eq!(store.replica(), first, "only an edit needs another id");
    store.change(|state| state.notes().push_str("ours")).expect("it can be written");
    assert_ne!(store.replica(), first);
    let second = store.replica();
    store.change(|state| state.title().set("trip")).expect("it can be written");
    assert_eq!(store.replica(), second, "the fresh id is nobody else's");
    converge(&store, &other);
    assert_eq!(store.view().notes.to_string(), "theirs ours");
    // Undo knows the edits under both ids.
    (0..3).for_each(|_| drop(undo.undo().expect("it can be undone")));
    assert_eq!(
        (store.view().title.as_str(), store.view().notes.to_string().as_str()),
        ("", "theirs ")
    );
    converge(&store, &other);
}

#[test]
fn a_peer_cannot_use_up_the_ops_of_an_id() {
    for end in [i32::MAX as u64, (1 << 30) + 1, 5_000] {
        let (store, other) = (support::store::<Yrs>(1), support::store::<Yrs>(2));
        store.change(|state| state.notes().push_str("ours")).expect("it can be written");
        let id = store.replica();
        let clock = double(&store).transact().state_vector().get(&yrs::ClientID::new(id.get()));
        let update = all_ops_of(id.get(), u64::from(clock), end);
        store.apply(&update).expect("an update");
        store.change(|state| state.notes().push_str(" too")).expect("it can be written");
        store.document().edit(|edit| edit.set("title", "plan")).expect("it can be written");
        assert_ne!(store.replica(), id);
        converge(&store, &other);
        assert_eq!(other.view().notes.to_string(), "ours too");
        assert_eq!(other.view().title, "plan");
    }
}

proptest! {
    /// The same at random: own edits, ops of the other writer, and joint changes in any order.
    #[test]
    fn nothing_is_lost_when_an_id_is_used_twice(
        steps in prop::collection::vec((0..3_u8, 0..1_000_i64), 1..25),
    ) {
        let (store, other) = (support::store::<Yrs>(1), support::store::<Yrs>(2));
        let mut letters = 0;
        for (number, (kind, value)) in steps.into_iter().enumerate() {
            match kind {
                0 => {
                    let update = write(&double(&store), &format!("scores/{number}"), value, "t");
                    store.apply(&update).expect("an update");
                }
                1 => store
                    .change(|state| {
                        state.votes().add(value)?;
                        state.names().push(format!("{value}")).map(drop)
                    })
                    .expect("it can be written"),
                _ => converge(&store, &other),
            }
            letters += usize::from(kind == 0);
        }
        converge(&store, &other);
        prop_assert_eq!(store.view().notes.to_string(), "t".repeat(letters));
        prop_assert_eq!(store.view().scores.len(), letters);
    }
}
