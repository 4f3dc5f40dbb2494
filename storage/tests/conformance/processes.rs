//! Places that another process has open, that a killed process left, or that hold something else.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use exostate_storage::{AdapterErrorKind, MemoryAdapter};

use super::places::{Place, on_disk};
use crate::{append, each, kind, read, record, reopened, replace, stored};

#[test]
fn a_second_adapter_on_the_same_place_is_refused_at_once() {
    each(on_disk(), |place, adapter| {
        append(&*adapter, &[record("a", 1, b"one")]);
        for _ in 0..2 {
            assert_eq!(kind(place.open()), AdapterErrorKind::InUse);
        }
        let mut other = start(place);
        assert_eq!(lines(&mut other).next().as_deref(), Some("InUse"));
        assert!(other.wait().expect("it ends").success());
        // The refused ones took nothing away from the first.
        append(&*adapter, &[record("a", 2, b"two")]);
        assert_eq!(kind(place.open()), AdapterErrorKind::InUse);
        let adapter = reopened(place, adapter);
        assert_eq!(read(&*adapter, "a"), stored(None, &[(1, b"one"), (2, b"two")]));
    });
}

/// A process is killed while it writes. All that it had synced is there, and the place opens.
#[test]
fn what_was_synced_survives_a_killed_process() {
    each(on_disk(), |place, adapter| {
        drop(adapter);
        for round in 1..=3 {
            let mut other = start(place);
            let mut said = lines(&mut other);
            let synced = said.by_ref().take(30).last().expect("it says a number");
            let synced: u64 = synced.parse().expect("a number");
            assert_eq!(kind(place.open()), AdapterErrorKind::InUse);
            other.kill().expect("it is killed");
            other.wait().expect("it ends");
            let adapter = place.open().expect("it opens");
            let stored = adapter.read("a").expect("it reads").expect("it is there");
            let covers = stored.snapshot.as_ref().map_or(0, |(covers, _)| *covers);
            let end = covers + stored.records.len() as u64;
            assert!(stored.records.iter().map(|(number, _)| *number).eq(covers + 1..=end));
            assert!(end >= synced, "{end} of {synced} in round {round}");
            assert!(stored.last.is_none_or(|last| last == end));
            assert_eq!(adapter.verify().expect("it checks"), [""; 0]);
            adapter.delete("a").expect("it deletes");
            adapter.sync().expect("it syncs");
        }
    });
}

/// The other process of the tests above. It writes until it is killed.
#[test]
#[ignore = "the tests above run it as another process"]
fn other_process() {
    let Some(place) = Place::of_child() else { return };
    let adapter = match place.open() {
        Ok(adapter) => adapter,
        Err(error) => return eprintln!("\n:{:?}", error.kind()),
    };
    // It ends by itself if nobody kills it.
    for number in 1..20_000 {
        append(&*adapter, &[record("a", number, &[7; 3000])]);
        if number % 7 == 0 {
            replace(&*adapter, "a", number - 1, b"snapshot");
        }
        eprintln!("\n:{number}");
    }
}

/// Starts another process that opens the place and writes.
fn start(place: &Place) -> Child {
    let program = std::env::current_exe().expect("this program");
    Command::new(program)
        .args(["--exact", "conformance::processes::other_process", "--ignored", "--nocapture"])
        .envs(place.for_child())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// What the other process says.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    lines.filter_map(|line| Some(line.ok()?.strip_prefix(':')?.to_owned()))
}

#[test]
fn what_is_not_a_database_is_named_and_left_as_it_was() {
    for kind in on_disk() {
        // A file of zeros is what a power loss leaves of a new one.
        for bytes in [b"Dear diary, this is no database. ".repeat(9), vec![1; 9000], vec![255; 99]]
        {
            eprintln!("with {}", kind.name);
            let place = Place::new(kind);
            std::fs::write(place.path(), &bytes).expect("it writes");
            let error = place.open().err().expect("an error");
            assert_ne!(error.kind(), AdapterErrorKind::InUse);
            let path = place.path().display().to_string();
            assert!(error.to_string().contains(&path), "{error}");
            assert!(std::fs::read(place.path()).expect("it is there") == bytes, "{error}");
        }
        let place = Place::new(kind);
        let missing = place.path().join("no such folder").join("documents");
        // The files adapter may make the folders above its own.
        if let Err(error) = kind.open(&missing, &MemoryAdapter::new()) {
            assert!(error.to_string().contains("no such folder"), "{error}");
        }
    }
}

#[test]
fn a_newer_format_is_named() {
    #[cfg(feature = "redb")]
    newer("redb", |path| {
        let database = redb::Database::open(path).expect("it opens");
        let transaction = database.begin_write().expect("it begins");
        let table = redb::TableDefinition::<&str, u64>::new("meta");
        transaction.open_table(table).expect("a table").insert("format", 2).expect("inserts");
        transaction.commit().expect("it commits");
    });
    #[cfg(feature = "sqlite")]
    newer("sqlite", |path| {
        let database = rusqlite::Connection::open(path).expect("it opens");
        database.pragma_update(None, "user_version", 2).expect("it updates");
    });
}

#[allow(dead_code, reason = "without features there is no adapter on disk")]
fn newer(name: &str, change: impl Fn(&Path)) {
    let kind = on_disk().into_iter().find(|kind| kind.name == name).expect("the kind");
    let place = Place::new(kind);
    append(&*place.open().expect("it opens"), &[record("a", 1, b"one")]);
    change(place.path());
    assert_eq!(crate::kind(place.open()), AdapterErrorKind::Newer);
}

/// A database of somebody else is left as it is, to the byte.
#[cfg(feature = "sqlite")]
#[test]
fn an_sqlite_database_of_others_is_left_as_it_was() {
    let kind = on_disk().into_iter().find(|kind| kind.name == "sqlite").expect("the kind");
    let place = Place::new(kind);
    let database = rusqlite::Connection::open(place.path()).expect("it opens");
    database.execute_batch("CREATE TABLE documents (name)").expect("it makes a table");
    drop(database);
    let before = std::fs::read(place.path()).expect("it reads");
    let error = place.open().err().expect("an error");
    assert!(error.to_string().contains("not one of exostate"), "{error}");
    assert_eq!(std::fs::read(place.path()).expect("it reads"), before);
}
