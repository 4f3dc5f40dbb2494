//! A document that is opened again is what it was, with everything that belongs to it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at a fault, and has threads"
)]

mod support;

use exostate::{
    Automerge, Backend, HistoryOptions, Library, Link, List, Map, State, Store, Text, UndoOptions,
    Yrs,
};
use exostate_storage::{
    AttachError, KeptHistory, KeptUndo, MemoryAdapter, OpenError, Opening, Persist, Storage,
    StorageOptions,
};
use support::{SimAdapter, copy};

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Note {
    title: String,
    body: Text,
    tags: Map<String, bool>,
}

#[derive(State, Clone, Debug, Default, PartialEq)]
struct Other {
    title: String,
}

fn open<B: Backend>(storage: &Storage, name: &str) -> Store<Note, B> {
    storage.open_with::<Note, B>(name, Opening::new()).unwrap()
}

fn changes_and_imports_are_there_again<B: Backend>() {
    let adapter = MemoryAdapter::new();
    let storage = Storage::new(adapter.clone());
    let store = open::<B>(&storage, "note");
    store.change(|note| note.title().set("plan")).unwrap();
    let theirs = Store::<Note, B>::new();
    theirs.change(|note| note.body().push_str("hello")).unwrap();
    store.merge(&theirs).unwrap();
    store.flush_blocking().unwrap();
    let (view, digest, version) =
        (store.view(), store.document().digest(), store.document().version());
    drop(store);
    storage.close().unwrap();
    let storage = Storage::new(adapter);
    let store = open::<B>(&storage, "note");
    assert_eq!((store.view(), store.document().digest()), (view, digest));
    assert_eq!(store.version(), version);
    assert_eq!(storage.list().unwrap(), ["note"]);
}

#[test]
fn changes_and_imports_are_there_again_on_both_backends() {
    changes_and_imports_are_there_again::<Yrs>();
    changes_and_imports_are_there_again::<Automerge>();
}

#[tokio::test]
async fn a_flush_waits_for_the_disk() {
    let adapter = SimAdapter::new();
    let storage = Storage::new(adapter.clone());
    let store = storage.open::<Note>("note").unwrap();
    for at in 0..20 {
        store.change(|note| note.title().set(format!("plan {at}"))).unwrap();
        store.flush().await.unwrap();
        let after = Storage::new(adapter.crash(0));
        assert_eq!(after.open::<Note>("note").unwrap().view(), store.view());
    }
    assert!(store.storage_status().unwrap().is_kept());
    storage.flush().await.unwrap();
    assert!(Store::<Note>::new().flush().await.is_err());
}

#[test]
fn changes_without_a_flush_are_written_soon() {
    let adapter = SimAdapter::new();
    let storage = Storage::new(adapter.clone());
    let store = storage.open::<Note>("note").unwrap();
    store.change(|note| note.title().set("plan")).unwrap();
    let written =
        || Storage::new(adapter.crash(0)).open::<Note>("note").unwrap().view().title == "plan";
    while !written() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn an_open_document_is_shared() {
    let storage = Storage::in_memory();
    let first = storage.open::<Note>("note").unwrap();
    let second = storage.open::<Note>("note").unwrap();
    assert!(first.document().is_same(&second.document()));
    let other = storage.open::<Other>("note").unwrap();
    first.change(|note| note.title().set("plan")).unwrap();
    assert_eq!(other.view().title, "plan");
    let automerge = storage.open_automerge::<Note>("note");
    assert!(matches!(automerge, Err(OpenError::Backend { .. })), "{automerge:?}");
    let created = storage.create::<Note>("note");
    assert!(matches!(created, Err(OpenError::Exists { .. })));
    let missing = storage.open_existing::<Note>("no");
    assert!(matches!(missing, Err(OpenError::NotFound { .. })));
    // Closed and opened again at once: the records in the queue are written before.
    drop((first, second, other));
    assert_eq!(storage.open::<Note>("note").unwrap().view().title, "plan");
}

#[test]
fn a_document_of_another_backend_is_refused_and_stays() {
    let adapter = MemoryAdapter::new();
    let storage = Storage::new(adapter.clone());
    drop(storage.open_automerge::<Note>("note").unwrap());
    storage.close().unwrap();
    let storage = Storage::new(adapter);
    let refused = storage.open::<Note>("note").unwrap_err();
    assert_eq!(refused.to_string(), "note: it is a document of automerge, not of yrs");
    storage.open_automerge::<Note>("note").unwrap();
}

#[test]
fn threads_that_open_one_document_share_it() {
    let storage = Storage::in_memory();
    let opened: Vec<_> = (0..8)
        .map(|_| {
            let storage = storage.clone();
            std::thread::spawn(move || storage.open::<Note>("note").unwrap())
        })
        .collect();
    let opened: Vec<_> = opened.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(opened.iter().all(|store| store.document().is_same(&opened[0].document())));
}

#[test]
fn undo_and_history_are_kept_with_the_document() {
    let adapter = MemoryAdapter::new();
    let storage = Storage::new(adapter.clone());
    let note = storage.open::<Note>("note").unwrap();
    let undo = KeptUndo::open(&note, "main", UndoOptions::default()).unwrap();
    let history = KeptHistory::open(&note, "main", HistoryOptions::default()).unwrap();
    let again = KeptUndo::open(&note, "main", UndoOptions::default());
    assert!(matches!(again, Err(AttachError::InUse { .. })));
    note.change(|note| note.body().push_str("hello")).unwrap();
    history.name("first").unwrap();
    note.change(|note| note.title().set("trip")).unwrap();
    note.flush_blocking().unwrap();
    let records = |adapter: &MemoryAdapter| {
        exostate_storage::Adapter::read(adapter, "note").unwrap().unwrap().records.len()
    };
    let before = records(&adapter);
    note.flush_blocking().unwrap();
    assert_eq!(records(&adapter), before, "what has not changed is not written again");
    // A name changes the history and not the document.
    history.name("second").unwrap();
    note.flush_blocking().unwrap();
    // As after a crash: nothing is dropped.
    let crashed = copy(&adapter);
    for adapter in [crashed, adapter] {
        let storage = Storage::new(adapter);
        let note = storage.open::<Note>("note").unwrap();
        let undo = KeptUndo::open(&note, "main", UndoOptions::default()).unwrap();
        let history = KeptHistory::open(&note, "main", HistoryOptions::default()).unwrap();
        assert_eq!(history.view_at(history.find("first").unwrap()).unwrap().title, "");
        assert!(history.find("second").is_some());
        undo.undo().unwrap();
        assert_eq!((note.view().title.as_str(), note.view().body.to_string().len()), ("", 0));
    }
    drop((undo, history));
    // In the same run of the program.
    let undo = KeptUndo::open(&note, "main", UndoOptions::default()).unwrap();
    assert!(undo.undo().unwrap().is_some());
}

#[test]
fn own_ids_lineage_and_pending_updates_are_kept() {
    let adapter = MemoryAdapter::new();
    let storage = Storage::new(adapter.clone());
    let note = storage.open::<Note>("note").unwrap();
    let first = note.replica();
    note.document().follow(7);
    let theirs = Store::<Note>::new();
    theirs.change(|note| note.body().push_str("a")).unwrap();
    let middle = theirs.version();
    theirs.change(|note| note.body().push_str("b")).unwrap();
    for update in theirs.updates_since(&middle).unwrap() {
        note.apply_trusted(&update).unwrap();
    }
    drop(note);
    storage.close().unwrap();
    let mut ids = vec![first];
    for _ in 0..3 {
        let storage = Storage::new(adapter.clone());
        let note = storage.open::<Note>("note").unwrap();
        assert!(ids.iter().all(|id| note.document().is_own(*id)));
        assert!(!ids.contains(&note.replica()), "an id is never used again");
        assert_eq!(note.document().lineage(), 7);
        assert_eq!(note.document().own_pending().updates, 1);
        ids.push(note.replica());
    }
    let storage = Storage::new(adapter);
    let note = storage.open::<Note>("note").unwrap();
    note.merge(&theirs).unwrap();
    assert_eq!(note.view().body, "ab");
}

#[test]
fn a_copied_folder_does_not_lead_to_a_reused_id() {
    let adapter = MemoryAdapter::new();
    let storage = Storage::new(adapter.clone());
    let note = storage.open::<Note>("note").unwrap();
    note.change(|note| note.title().set("plan")).unwrap();
    note.flush_blocking().unwrap();
    let copies = [copy(&adapter), copy(&adapter), copy(&adapter)];
    let stores: Vec<_> = copies
        .into_iter()
        .map(|adapter| Storage::new(adapter).open::<Note>("note").unwrap())
        .chain([note])
        .collect();
    for (at, store) in stores.iter().enumerate() {
        store.change(|note| note.tags().insert(at.to_string(), true)).unwrap();
    }
    for ours in &stores {
        stores.iter().for_each(|theirs| {
            ours.merge(theirs).unwrap();
        });
    }
    assert_eq!(stores[0].view().tags.len(), 4);
    assert!(stores.iter().all(|store| store.document().digest() == stores[0].document().digest()));
}

fn a_long_log_is_compacted<B: Backend>() {
    let adapter = MemoryAdapter::new();
    let options = StorageOptions::new().with_compact_bytes_min(4 << 10);
    let storage = Storage::with_options(adapter.clone(), options);
    let note = open::<B>(&storage, "note");
    let undo = KeptUndo::open(&note, "main", UndoOptions::default()).unwrap();
    let mut covered = 0;
    for at in 0..2_000 {
        note.change(|note| note.tags().insert((at % 50).to_string(), at % 3 == 0)).unwrap();
        if at % 100 == 0 {
            note.flush_blocking().unwrap();
        }
        if at == 1_000 {
            let stored = exostate_storage::Adapter::read(&adapter, "note").unwrap().unwrap();
            covered = stored.snapshot.map_or(0, |(covers, _)| covers);
        }
    }
    assert!(covered > 0, "there is a snapshot");
    let digest = note.document().digest();
    drop((undo, note));
    storage.close().unwrap();
    let storage = Storage::new(adapter);
    let note = open::<B>(&storage, "note");
    assert_eq!(note.document().digest(), digest);
    assert!(
        KeptUndo::open(&note, "main", UndoOptions::default()).unwrap().undo().unwrap().is_some()
    );
}

#[test]
fn a_long_log_is_compacted_on_both_backends() {
    a_long_log_is_compacted::<Yrs>();
    a_long_log_is_compacted::<Automerge>();
}

#[test]
fn a_library_keeps_its_documents() {
    #[derive(State, Clone, Debug, PartialEq)]
    struct Book {
        chapters: List<Link<Other>>,
    }
    let adapter = MemoryAdapter::new();
    let library = Library::new(Storage::new(adapter.clone()).loader());
    let book = library.create(&Book { chapters: List::new() }).unwrap();
    let chapter = library.create(&Other { title: "one".into() }).unwrap();
    book.change(|book| book.chapters().push(chapter.link().clone())).unwrap();
    chapter.change(|chapter| chapter.title().set("In which we begin")).unwrap();
    let link = book.link().clone();
    drop((book, chapter, library));
    let library = Library::new(Storage::new(adapter).loader());
    let book = link.open(&library).unwrap();
    let chapter = book.view().chapters.get(0).unwrap().open(&library).unwrap();
    assert_eq!(chapter.view().title, "In which we begin");
    let missing = Link::<Other>::new("missing").open(&library);
    assert!(missing.is_err());
}

/// The number of a document's last record is kept apart. If that row is damaged, a repair writes it
/// anew.
#[cfg(feature = "redb")]
#[test]
fn a_document_of_which_the_last_number_is_damaged_can_be_repaired() {
    type Key = (u64, u64, u32);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.redb");
    let storage = Storage::open_file(&path).unwrap();
    storage.open::<Note>("note").unwrap().change(|note| note.title().set("plan")).unwrap();
    storage.close().unwrap();
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let rows = redb::TableDefinition::<Key, &[u8]>::new("records");
    transaction.open_table(rows).unwrap().insert((1, u64::MAX, 0), &[7; 12][..]).unwrap();
    transaction.commit().unwrap();
    drop(database);

    let storage = Storage::open_file(&path).unwrap();
    assert!(matches!(storage.open::<Note>("note"), Err(OpenError::Damaged { .. })));
    for _ in 0..2 {
        storage.repair("note").unwrap();
        let note = storage.open::<Note>("note").unwrap();
        assert_eq!(note.view().title, "plan");
        note.flush_blocking().unwrap();
    }
    assert!(storage.verify().unwrap().documents[0].damage.is_none());
}
