//! The check record: it finds a wrong key before anything is read or written.

use super::seal::{KeyId, OpenError, Purpose, SealError, Sealer};
use crate::adapter::{Adapter, AdapterError, AdapterErrorKind, Append};

/// The document that holds the check record, twice: as snapshot 1 and as record 2.
pub(super) const CHECK: &str = "exostate-keys";
const SNAPSHOT: u64 = 1;
const RECORD: u64 = 2;

/// What the check record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) hides_names: bool,
    /// The keys that sealed things at the place, the oldest first.
    pub(super) keys: Vec<KeyId>,
}

impl Check {
    fn bytes(&self) -> Vec<u8> {
        [&[u8::from(self.hides_names)][..], self.keys.as_flattened()].concat()
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, OpenError> {
        let (hides_names, keys) = bytes.split_first().ok_or(OpenError::Damaged)?;
        let (keys, rest) = keys.as_chunks();
        if *hides_names > 1 || keys.is_empty() || !rest.is_empty() {
            return Err(OpenError::Damaged);
        }
        Ok(Self { hides_names: *hides_names == 1, keys: keys.to_vec() })
    }

    /// Reads the check record. `None` if the place has none. The second value says whether both
    /// copies of it are as they should be.
    pub(super) fn read(
        inner: &impl Adapter,
        sealer: &Sealer,
    ) -> Result<Option<(Self, bool)>, AdapterError> {
        let Some(stored) = inner.read(CHECK)? else { return Ok(None) };
        let record = stored.records.iter().find(|(number, _)| *number == RECORD);
        let copies = [(SNAPSHOT, stored.snapshot.as_ref()), (RECORD, record)];
        let copies = copies.map(|(number, copy)| {
            let (_, bytes) = copy.ok_or(OpenError::Damaged)?;
            let (bytes, _) = sealer.open(Purpose::Check, CHECK, number, bytes)?;
            Self::of_bytes(&bytes)
        });
        let is_good = copies[0].is_ok() && copies[0] == copies[1];
        let found = match copies {
            [Ok(found), _] | [Err(OpenError::Damaged), Ok(found)] => Ok(found),
            [Err(OpenError::Damaged), Err(error)] | [Err(error), _] => Err(error),
        };
        let found = found.map_err(|error| open_error(CHECK, error))?;
        if !found.keys.iter().all(|id| sealer.knows(id)) {
            return Err(open_error(CHECK, OpenError::UnknownKey));
        }
        Ok(Some((found, is_good)))
    }

    /// Writes the check record.
    pub(super) fn write(&self, inner: &impl Adapter, sealer: &Sealer) -> Result<(), AdapterError> {
        let sealed = |number| {
            let sealed = sealer.seal(Purpose::Check, CHECK, number, &self.bytes());
            sealed.map_err(|error| seal_error(CHECK, error))
        };
        inner.replace(CHECK, SNAPSHOT, &sealed(SNAPSHOT)?)?;
        inner.append(&[Append { document: CHECK, number: RECORD, bytes: &sealed(RECORD)? }])?;
        inner.sync()
    }
}

/// The error of a document that does not open.
pub(super) fn open_error(document: &str, error: OpenError) -> AdapterError {
    let kind = match error {
        OpenError::Damaged => AdapterErrorKind::Damaged,
        OpenError::UnknownKey => AdapterErrorKind::WrongKey,
        OpenError::Newer(_) => AdapterErrorKind::Newer,
    };
    AdapterError::new(kind, format!("{document:?}"), error)
}

/// The error of a document that cannot be sealed.
pub(super) fn seal_error(document: &str, error: SealError) -> AdapterError {
    AdapterError::new(AdapterErrorKind::Other, format!("{document:?}"), error)
}
