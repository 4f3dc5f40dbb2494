//! Entries: what a record or a snapshot of a document holds. docs/storage.md describes the bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use exostate::{Backend, Document, ReplicaId, varint};

/// One thing that is kept of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The name of the backend. It is the first entry of a document.
    Backend(String),
    /// An update.
    Update(Arc<[u8]>),
    /// An update that was pending when it came.
    Pending(Arc<[u8]>),
    /// The whole document. It takes the place of all updates before it.
    Whole(Arc<[u8]>),
    /// A replica id of the owner.
    Replica(ReplicaId),
    /// The lineage.
    Lineage(u64),
    /// Bytes beside the document: undo stacks, a history.
    Attachment { name: String, bytes: Arc<[u8]> },
    /// The attachment of this name is removed.
    NoAttachment(String),
    /// A part of a damaged document, as it was found. A document of such parts stands for the
    /// damaged one.
    Found(Found),
}

/// A part of a damaged document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The name of the document.
    pub(crate) document: String,
    pub(crate) kind: FoundKind,
    /// The number of the record, or of the last one that the snapshot covers.
    pub(crate) number: u64,
    pub(crate) bytes: Arc<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundKind {
    Snapshot = 0,
    Record = 1,
    /// Bytes in which the adapter found no record.
    Unreadable = 2,
}

/// The kinds of entries, as they are written.
mod kind {
    pub(super) const BACKEND: u64 = 1;
    pub(super) const UPDATE: u64 = 2;
    pub(super) const PENDING: u64 = 3;
    pub(super) const WHOLE: u64 = 4;
    pub(super) const REPLICA: u64 = 5;
    pub(super) const LINEAGE: u64 = 6;
    pub(super) const ATTACHMENT: u64 = 7;
    pub(super) const NO_ATTACHMENT: u64 = 8;
    pub(super) const FOUND: u64 = 9;
}

/// Why entries cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("an entry is cut off at byte {at}")]
    CutOff { at: usize },
    #[error("the entry at byte {at} is malformed")]
    Malformed { at: usize },
    #[error("the entry at byte {at} is of the unknown kind {kind}")]
    UnknownKind { at: usize, kind: u64 },
}

impl Entry {
    /// Appends the entry to `bytes`: its kind, its length, and its content.
    pub(crate) fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Backend(name) => put(bytes, kind::BACKEND, name.as_bytes()),
            Self::Update(update) => put(bytes, kind::UPDATE, update),
            Self::Pending(update) => put(bytes, kind::PENDING, update),
            Self::Whole(document) => put(bytes, kind::WHOLE, document),
            Self::Replica(id) => put(bytes, kind::REPLICA, &id.get().to_le_bytes()),
            Self::Lineage(lineage) => put(bytes, kind::LINEAGE, &lineage.to_le_bytes()),
            Self::Attachment { name, bytes: attached } => {
                let mut content = Vec::with_capacity(name.len() + attached.len() + 10);
                varint::put(&mut content, name.len() as u64);
                content.extend_from_slice(name.as_bytes());
                content.extend_from_slice(attached);
                put(bytes, kind::ATTACHMENT, &content);
            }
            Self::NoAttachment(name) => put(bytes, kind::NO_ATTACHMENT, name.as_bytes()),
            Self::Found(found) => {
                let mut content = vec![found.kind as u8];
                content.extend(found.number.to_le_bytes());
                varint::put(&mut content, found.document.len() as u64);
                content.extend_from_slice(found.document.as_bytes());
                content.extend_from_slice(&found.bytes);
                put(bytes, kind::FOUND, &content);
            }
        }
    }

    /// The length of the content in bytes, about: for the bounds of queues.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Update(bytes) | Self::Pending(bytes) | Self::Whole(bytes) => bytes.len(),
            Self::Attachment { name, bytes } => name.len() + bytes.len(),
            Self::Backend(name) | Self::NoAttachment(name) => name.len(),
            Self::Found(found) => found.document.len() + found.bytes.len(),
            Self::Replica(_) | Self::Lineage(_) => 8,
        }
    }
}

fn put(bytes: &mut Vec<u8>, kind: u64, content: &[u8]) {
    varint::put(bytes, kind);
    varint::put(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

/// Reads all entries.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Entry>, EntryError> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let cut_off = EntryError::CutOff { at };
        let (kind, tail) = varint::split(rest).map_err(|_| cut_off)?;
        let (len, tail) = varint::split(tail).map_err(|_| cut_off)?;
        let len = usize::try_from(len).map_err(|_| cut_off)?;
        let (content, tail) = tail.split_at_checked(len).ok_or(cut_off)?;
        entries.push(entry(kind, content, at)?);
        rest = tail;
    }
    Ok(entries)
}

fn entry(kind: u64, content: &[u8], at: usize) -> Result<Entry, EntryError> {
    let malformed = EntryError::Malformed { at };
    let text = || String::from_utf8(content.to_vec()).map_err(|_| malformed);
    let number = || content.try_into().map(u64::from_le_bytes).map_err(|_| malformed);
    Ok(match kind {
        kind::BACKEND => Entry::Backend(text()?),
        // No update is empty, and many of them in a packed file would take much memory.
        kind::UPDATE | kind::PENDING if content.is_empty() => return Err(malformed),
        kind::UPDATE => Entry::Update(content.into()),
        kind::PENDING => Entry::Pending(content.into()),
        kind::WHOLE => Entry::Whole(content.into()),
        kind::REPLICA => Entry::Replica(ReplicaId::from_bits(number()?)),
        kind::LINEAGE => Entry::Lineage(number()?),
        kind::ATTACHMENT => {
            let (name, attached) = split_name(content).ok_or(malformed)?;
            Entry::Attachment { name, bytes: attached.into() }
        }
        kind::FOUND => Entry::Found(found(content).ok_or(malformed)?),
        kind::NO_ATTACHMENT => Entry::NoAttachment(text()?),
        kind => return Err(EntryError::UnknownKind { at, kind }),
    })
}

/// A name with its length before it, and what is behind it.
fn split_name(content: &[u8]) -> Option<(String, &[u8])> {
    let (len, rest) = varint::split(content).ok()?;
    let (name, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    Some((String::from_utf8(name.to_vec()).ok()?, rest))
}

fn found(content: &[u8]) -> Option<Found> {
    let (kind, rest) = content.split_first()?;
    let kind = match kind {
        0 => FoundKind::Snapshot,
        1 => FoundKind::Record,
        2 => FoundKind::Unreadable,
        _ => return None,
    };
    let (number, rest) = rest.split_first_chunk()?;
    let (document, bytes) = split_name(rest)?;
    Some(Found { document, kind, number: u64::from_le_bytes(*number), bytes: bytes.into() })
}

/// What the entries of a document say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) backend: Option<String>,
    pub(crate) whole: Option<Arc<[u8]>>,
    /// The updates since the whole document, pending ones among them, in the order in which they
    /// came.
    pub(crate) updates: Vec<Arc<[u8]>>,
    /// The replica ids of the owner, without repetition, the oldest first.
    pub(crate) ids: Vec<ReplicaId>,
    pub(crate) lineage: u64,
    pub(crate) attachments: BTreeMap<String, Arc<[u8]>>,
    /// The parts of a damaged document that this one stands for.
    pub(crate) found: Vec<Found>,
}

impl Content {
    pub(crate) fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Backend(name) => self.backend = Some(name),
            Entry::Update(update) | Entry::Pending(update) => self.updates.push(update),
            Entry::Whole(document) => {
                self.whole = Some(document);
                self.updates.clear();
            }
            Entry::Replica(id) => {
                self.ids.retain(|known| *known != id);
                self.ids.push(id);
            }
            Entry::Lineage(lineage) => self.lineage = self.lineage.max(lineage),
            Entry::Attachment { name, bytes } => drop(self.attachments.insert(name, bytes)),
            Entry::NoAttachment(name) => drop(self.attachments.remove(&name)),
            Entry::Found(found) => self.found.push(found),
        }
    }

    /// The same with this document in place of the old one and its updates. O(document).
    pub(crate) fn with_document<B: Backend>(mut self, document: &Document<B>) -> Self {
        self.backend.get_or_insert_with(|| B::NAME.to_owned());
        self.whole = Some(document.save().into());
        self.updates = document.own_pending_updates().into_iter().map(Arc::from).collect();
        self
    }

    /// Entries that say the same, as few as possible.
    pub(crate) fn entries(self) -> Vec<Entry> {
        let attachment = |(name, bytes)| Entry::Attachment { name, bytes };
        let mut entries: Vec<Entry> = self.backend.map(Entry::Backend).into_iter().collect();
        entries.extend(self.ids.into_iter().map(Entry::Replica));
        entries.extend((self.lineage > 0).then_some(Entry::Lineage(self.lineage)));
        entries.extend(self.whole.map(Entry::Whole));
        entries.extend(self.updates.into_iter().map(Entry::Update));
        entries.extend(self.attachments.into_iter().map(attachment));
        entries.extend(self.found.into_iter().map(Entry::Found));
        entries
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_entry() -> impl Strategy<Value = Entry> {
        let bytes = || proptest::collection::vec(any::<u8>(), 1..40).prop_map(Arc::<[u8]>::from);
        prop_oneof![
            "[a-z]{0,8}".prop_map(Entry::Backend),
            bytes().prop_map(Entry::Update),
            bytes().prop_map(Entry::Pending),
            bytes().prop_map(Entry::Whole),
            any::<u64>().prop_map(|bits| Entry::Replica(ReplicaId::from_bits(bits))),
            any::<u64>().prop_map(Entry::Lineage),
            ("[a-c]{0,2}", bytes()).prop_map(|(name, bytes)| Entry::Attachment { name, bytes }),
            "[a-c]{0,2}".prop_map(Entry::NoAttachment),
            ("[a-c]{0,2}", any::<u64>(), bytes()).prop_map(|(document, number, bytes)| {
                let kinds = [FoundKind::Snapshot, FoundKind::Record, FoundKind::Unreadable];
                let kind = kinds[(number % 3) as usize];
                Entry::Found(Found { document, kind, number, bytes })
            }),
        ]
    }

    fn bytes_of(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.put(&mut bytes));
        bytes
    }

    proptest! {
        #[test]
        fn entries_read_back(entries in proptest::collection::vec(any_entry(), 0..20)) {
            prop_assert_eq!(read(&bytes_of(&entries)), Ok(entries));
        }

        #[test]
        fn a_content_and_its_entries_say_the_same(
            entries in proptest::collection::vec(any_entry(), 0..20),
        ) {
            let mut content = Content::default();
            entries.into_iter().for_each(|entry| content.add(entry));
            let mut again = Content::default();
            content.clone().entries().into_iter().for_each(|entry| again.add(entry));
            prop_assert_eq!(again, content);
        }

        #[test]
        fn any_bytes_give_entries_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn an_error_names_the_place() {
        let bytes = bytes_of(&[Entry::Lineage(7), Entry::Update(Arc::from([1, 2, 3]))]);
        assert_eq!(read(&bytes[..bytes.len() - 1]), Err(EntryError::CutOff { at: 10 }));
        assert_eq!(read(&[5, 1, 0]), Err(EntryError::Malformed { at: 0 }));
        assert_eq!(read(&[2, 0]), Err(EntryError::Malformed { at: 0 }));
        assert_eq!(read(&[99, 0]), Err(EntryError::UnknownKind { at: 0, kind: 99 }));
    }
}
