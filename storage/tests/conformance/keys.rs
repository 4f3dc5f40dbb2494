//! Another key for documents that are encrypted on disk.

#![cfg(any(feature = "redb", feature = "sqlite", feature = "files"))]

use std::path::Path;

use exostate_storage::{Adapter, AdapterError, AdapterErrorKind, EncryptedAdapter, Key, Keys};

use crate::{append, kind, read, record, replace, stored};

fn keys(key: u8, hides_names: bool) -> Keys {
    let keys = Keys::new(Key::new([key; 32]));
    if hides_names { keys.with_hidden_names() } else { keys }
}

fn check<A: Adapter>(open: impl Fn(&Path) -> Result<A, AdapterError>) {
    for hides_names in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("documents");
        let open = |keys: &Keys| EncryptedAdapter::open(open(&path)?, keys);
        let adapter = open(&keys(1, hides_names)).expect("it opens");
        for number in 1..=5 {
            append(&adapter, &[record("a", number, b"r"), record("b", number, b"r")]);
        }
        replace(&adapter, "b", 3, b"three");
        drop(adapter);

        let both = keys(2, hides_names).with_old(Key::new([1; 32]));
        let (adapter, left) = open(&both).expect("it opens").rotate().expect("it rotates");
        assert!(left.is_empty());
        append(&adapter, &[record("a", 6, b"r")]);
        drop(adapter);

        assert_eq!(kind(open(&keys(1, hides_names))), AdapterErrorKind::WrongKey);
        let adapter = open(&keys(2, hides_names)).expect("it opens");
        let records = [1, 2, 3, 4, 5, 6].map(|number| (number, &b"r"[..]));
        assert_eq!(read(&adapter, "a"), stored(None, &records));
        assert_eq!(read(&adapter, "b"), stored(Some((3, b"three")), &records[3..5]));
        assert_eq!(adapter.list().expect("it lists"), ["a", "b"]);
    }
}

#[test]
fn keys_can_be_changed_on_disk() {
    #[cfg(feature = "redb")]
    check(|path| exostate_storage::RedbAdapter::open(path));
    #[cfg(feature = "sqlite")]
    check(|path| exostate_storage::SqliteAdapter::open(path));
    #[cfg(feature = "files")]
    check(|path| exostate_storage::FilesAdapter::open(path));
}
