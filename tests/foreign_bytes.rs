//! Promise: bytes that are not an exostate document of this backend are refused, and the error says
//! what they are.

mod support;

use std::io::Write;
use support::one_update::OneUpdate;

use exostate::{
    ApplyError, Automerge, Backend, BackendError, HistoryOptions, ImportError, State, Store,
    UndoOptions, Warning, Yrs,
};
use support::Everything;
use yrs::updates::encoder::Encode;
use yrs::{Doc, Map as _, ReadTxn, StateVector, Text as _, Transact};

fn written<B: Backend>() -> Store<Everything, B> {
    let store = support::store::<B>(1);
    for kind in 0..support::KINDS {
        support::apply(&store, &support::Op { kind, a: 3, b: 7, text: "text".to_owned() });
    }
    store
}

/// The error of opening and of applying the bytes. Both must be the same.
fn said<B: Backend>(bytes: &[u8]) -> Option<String> {
    let opened = match Store::<Everything, B>::open(bytes) {
        Err(error @ BackendError::Foreign { .. }) => Some(error.to_string()),
        _ => None,
    };
    let store = written::<B>();
    let before = (store.view(), store.digest());
    let applied = match store.apply(bytes) {
        Err(ApplyError::Import(ImportError::Backend(error @ BackendError::Foreign { .. }))) => {
            Some(error.to_string())
        }
        _ => None,
    };
    assert_eq!(applied, opened, "opening and applying say something else");
    assert_eq!((store.view(), store.digest()), before, "what was refused did something");
    opened
}

fn says<B: Backend>(bytes: &[u8], what: &str) {
    let said = said::<B>(bytes).unwrap_or_else(|| panic!("{what}: not recognized on {}", B::NAME));
    assert!(said.contains(what) && said.contains(B::NAME), "{what}: {said}");
}

/// A document of Yjs, made without exostate.
fn foreign_yjs() -> Doc {
    let doc = Doc::new();
    let text = doc.get_or_insert_text("quill");
    let map = doc.get_or_insert_map("meta");
    let mut txn = doc.transact_mut();
    text.insert(&mut txn, 0, "somebody's text");
    map.insert(&mut txn, "title", "theirs");
    drop(txn);
    doc
}

#[test]
fn a_document_of_the_other_backend_is_named() {
    let yrs = written::<Yrs>();
    let automerge = written::<Automerge>();
    for bytes in [
        automerge.save(),
        automerge.update_since(&support::store::<Automerge>(2).version()).expect("an update"),
    ] {
        says::<Yrs>(&bytes, "this is an automerge document");
        says::<Yrs>(&bytes, "Store::<_, Automerge>");
    }
    for bytes in [
        yrs.save(),
        yrs.update_since(&support::store::<Yrs>(2).version()).expect("an update"),
        support::store::<Yrs>(1).save(),
    ] {
        says::<Automerge>(&bytes, "this is a Yjs document");
        says::<Automerge>(&bytes, "Store::<_, Yrs>");
    }
}

#[test]
fn an_automerge_document_that_exostate_did_not_make_is_named() {
    use automerge::transaction::Transactable;
    let mut doc = automerge::AutoCommit::new();
    doc.put(automerge::ROOT, "title", "theirs").expect("it can be written");
    let bytes = doc.save();
    let error = Store::<Everything, Automerge>::open(&bytes).expect_err("it is none of ours");
    assert!(
        error.to_string().contains("an automerge document that exostate did not make"),
        "{error}"
    );
    let error = written::<Automerge>().apply(&bytes).expect_err("it is none of ours");
    assert!(error.to_string().contains("exostate did not make it"), "{error}");
}

#[test]
fn a_yjs_document_of_others_opens_with_a_warning() {
    let doc = foreign_yjs();
    let bytes = doc.transact().encode_state_as_update_v1(&StateVector::default());
    let is_warned = |store: &Store<Everything>| match &store.warnings()[..] {
        [Warning::Foreign { roots }] => assert_eq!(roots[..], ["meta", "quill"]),
        other => panic!("{other:?}"),
    };
    let opened = Store::<Everything>::open(&bytes)
        .expect("it can be opened, and exostate's own be kept in it");
    is_warned(&opened);
    opened.change(|state| state.title().set("ours")).expect("it can be written");
    is_warned(&Store::open(&opened.save()).expect("it opens"));
    assert!(matches!(Store::<Everything>::open_strict(&bytes), Err(BackendError::Foreign { .. })));
    assert_eq!(written::<Yrs>().warnings(), []);

    let joined = written::<Yrs>();
    joined.apply(&bytes).expect("it can be merged");
    is_warned(&joined);
    says::<Automerge>(&bytes, "this is a Yjs document");
}

#[test]
fn the_second_encoding_of_yjs_is_named() {
    for doc in [Doc::new(), foreign_yjs()] {
        let bytes = doc.transact().encode_state_as_update_v2(&StateVector::default());
        says::<Automerge>(&bytes, "encoding v2");
        says::<Yrs>(&bytes, "encoding v2");
    }
    // A state vector is not a document either.
    assert!(
        Store::<Everything>::open(&foreign_yjs().transact().state_vector().encode_v1()).is_err()
    );
}

#[test]
fn saved_undo_stacks_and_histories_are_named() {
    fn run<B: Backend>() {
        let store = support::store::<B>(1);
        let undo = store.undo_manager(UndoOptions::new());
        let history = store.history(HistoryOptions::new()).expect("it can be saved");
        store.change(|state| state.title().set("plan")).expect("it can be written");
        for bytes in [undo.save(), support::store::<B>(2).undo_manager(UndoOptions::new()).save()] {
            says::<Yrs>(&bytes, "undo stacks that exostate saved");
            says::<Automerge>(&bytes, "undo stacks that exostate saved");
        }
        let bytes = history.save().expect("it is not within a change");
        says::<Yrs>(&bytes, "a history that exostate saved");
        says::<Automerge>(&bytes, "a history that exostate saved");
    }
    run::<Yrs>();
    run::<Automerge>();
}

#[test]
fn other_files_are_named() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&written::<Yrs>().save()).expect("it fits into memory");
    let gzip = gzip.finish().expect("it fits into memory");
    let files: [(&[u8], &str); 11] = [
        (b"{\"title\": \"plan\"}", "JSON"),
        (b"[1, 2]\n", "JSON"),
        (b"<!doctype html><html></html>", "HTML"),
        (b"404: Not Found\n", "plain text"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
        (b"PK\x03\x04\x14\0\0\0", "ZIP"),
        (&gzip, "gzip"),
        (b"%PDF-1.7\n", "PDF"),
        (b"SQLite format 3\0\x10\0", "SQLite"),
        (b"loro\0\0\0\0", "Loro"),
        (&[0; 512], "zeros"),
    ];
    // Empty bytes are an update of automerge without changes.
    assert!(matches!(Store::<Everything, Automerge>::open(b""), Err(BackendError::Foreign { .. })));
    says::<Yrs>(b"", "nothing");
    for (bytes, what) in files {
        says::<Yrs>(bytes, what);
        says::<Automerge>(bytes, what);
    }
}

#[test]
fn a_truncated_document_is_named_correctly() {
    fn run<B: Backend>() {
        let whole = written::<B>().save();
        for end in 1..whole.len() {
            let opened = Store::<Everything, B>::open(&whole[..end]);
            assert!(
                !matches!(opened, Err(BackendError::Foreign { .. })),
                "{end} bytes on {}: {opened:?}",
                B::NAME
            );
        }
        let error =
            Store::<Everything, B>::open(&whole[..whole.len() / 2]).expect_err("half a document");
        assert!(error.to_string().contains("end"), "{error}");
    }
    run::<Yrs>();
    run::<Automerge>();
}

/// Types with a name of their own cannot be recognised from bytes: see `tests/named_types.rs`.
#[test]
fn every_state_opens_its_own_document() {
    fn run<S: State, B: Backend>() {
        let store = Store::<S, B>::new();
        assert!(
            Store::<S, B>::open(&store.save()).is_ok()
                && Store::<S, B>::open_strict(&store.save()).is_ok()
        );
    }
    run::<Everything, Yrs>();
    run::<Everything, Automerge>();
    run::<i64, Yrs>();
    run::<i64, Automerge>();
}
