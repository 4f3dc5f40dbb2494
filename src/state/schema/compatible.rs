//! A check for the tests of an application.

use std::path::Path;

use crate::state::State;

use super::{Class, Schema};

/// The environment variable with which the file is written.
const WRITE: &str = "EXOSTATE_SCHEMA";

/// For the tests of an application: compares the schema of a type with the file in which the schema
/// of a released version stands, so that a change of the type that older versions do not bear is
/// noticed.
///
/// Begin with `EXOSTATE_SCHEMA=write cargo test`, which writes a file that is missing, and commit
/// the file. With each release that changes the type, add a file (`v2.json`) and a line to the test.
///
/// ```
/// use exostate::State;
/// use exostate::schema::assert_compatible;
///
/// #[derive(State, Clone, Debug)]
/// struct Board { title: String, done: bool }
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let v1 = folder.path().join("v1.json");
/// # std::fs::write(&v1, Board::schema().to_json()).unwrap();
/// // In a test:
/// assert_compatible::<Board>(&v1); // "schema/v1.json", from the folder of the package on
/// ```
///
/// # Panics
/// If the file is missing or cannot be read, or if a change asks for more than
/// [`Class::Compatible`]. The message lists the changes.
pub fn assert_compatible<S: State>(file: impl AsRef<Path>) {
    let path = file.as_ref();
    let new = S::schema();
    if !path.exists() && std::env::var_os(WRITE).is_some_and(|what| what == "write") {
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = folder.and_then(|()| std::fs::write(path, new.to_json()));
        return written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
        panic!("{}: {error}. `{WRITE}=write cargo test` writes it", path.display())
    });
    let old =
        Schema::from_json(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let difference = new.since(&old);
    assert!(
        difference.class() == Class::Compatible,
        "{}: versions with this schema do not bear these changes:\n{difference}",
        path.display()
    );
}
