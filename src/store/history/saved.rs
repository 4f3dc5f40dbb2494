//! A history as bytes, so that it survives a restart.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use uuid::Uuid;

use super::records::{Record, Records, Stamp};
use super::{History, HistoryError, HistoryOptions};
use crate::document::backend::Backend;
use crate::document::key::Key;
use crate::document::replica::Replica;
use crate::state::State;
use crate::store::envelope::{decode, encode};
use crate::store::{Meta, Origin, Store};

/// The format of the bytes.
const FORMAT: u32 = 1;
/// The largest id in saved bytes. No history reaches it, and it leaves room for later ids.
const ID_MAX: u64 = u64::MAX / 2;

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    backend: String,
    /// The version of the document when the history was saved, and its digest.
    version: ByteBuf,
    digest: ByteBuf,
    /// All paths of the history, each once. Revisions refer to them by index.
    paths: Vec<String>,
    revisions: Vec<SavedRevision>,
    faded: Vec<(u32, SavedStamp)>,
}

#[derive(Serialize, Deserialize)]
struct SavedRevision {
    stamp: SavedStamp,
    touched: Vec<u32>,
    updates: Option<Vec<ByteBuf>>,
    checkpoint: Option<ByteBuf>,
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SavedStamp {
    id: u64,
    origin: Option<u8>,
    /// Nanoseconds since 1970.
    time: i64,
    meta: Option<SavedMeta>,
}

#[derive(Serialize, Deserialize)]
struct SavedMeta {
    author: Option<String>,
    label: Option<String>,
    correlation: Option<u128>,
    time: Option<i64>,
}

/// The origins, each at its number in the bytes.
const ORIGINS: [Origin; 5] =
    [Origin::Local, Origin::Remote, Origin::Repair, Origin::Undo, Origin::Redo];

fn damaged(reason: impl Into<String>) -> HistoryError {
    HistoryError::Damaged { reason: reason.into() }
}

fn nanoseconds(time: SystemTime) -> i64 {
    let nanoseconds = |passed: Duration| i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => nanoseconds(since),
        Err(before) => -nanoseconds(before.duration()),
    }
}

fn time(nanoseconds: i64) -> SystemTime {
    let passed = Duration::from_nanos(nanoseconds.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if nanoseconds < 0 { epoch.checked_sub(passed) } else { epoch.checked_add(passed) };
    time.unwrap_or(epoch)
}

impl From<&Meta> for SavedMeta {
    fn from(meta: &Meta) -> Self {
        Self {
            author: meta.author().map(str::to_owned),
            label: meta.label().map(str::to_owned),
            correlation: meta.correlation().map(|id| id.as_u128()),
            time: meta.time().map(nanoseconds),
        }
    }
}

impl From<SavedMeta> for Meta {
    fn from(saved: SavedMeta) -> Self {
        let mut meta = Self::new();
        meta = saved.author.into_iter().fold(meta, Self::with_author);
        meta = saved.label.into_iter().fold(meta, Self::with_label);
        meta =
            saved.correlation.map(Uuid::from_u128).into_iter().fold(meta, Self::with_correlation);
        saved.time.map(time).into_iter().fold(meta, Self::with_time)
    }
}

impl From<&Stamp> for SavedStamp {
    fn from(stamp: &Stamp) -> Self {
        let origin =
            stamp.origin.and_then(|origin| ORIGINS.iter().position(|known| *known == origin));
        Self {
            id: stamp.id,
            origin: origin.and_then(|at| u8::try_from(at).ok()),
            time: nanoseconds(stamp.time),
            meta: stamp.meta.as_deref().map(SavedMeta::from),
        }
    }
}

impl TryFrom<SavedStamp> for Stamp {
    type Error = HistoryError;

    fn try_from(saved: SavedStamp) -> Result<Self, HistoryError> {
        let known = |code: u8| {
            ORIGINS.get(usize::from(code)).copied().ok_or_else(|| damaged("an unknown origin"))
        };
        let origin = saved.origin.map(known).transpose()?;
        let meta = saved.meta.map(|meta| Arc::new(meta.into()));
        Ok(Self { id: saved.id, origin, time: time(saved.time), meta })
    }
}

/// The paths of a history that is being saved, each with its number.
#[derive(Default)]
struct Paths<'a> {
    list: Vec<String>,
    numbers: BTreeMap<&'a str, u32>,
}

impl<'a> Paths<'a> {
    fn number(&mut self, path: &'a str) -> u32 {
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(path).or_insert_with(|| {
            self.list.push(path.to_owned());
            next
        })
    }
}

fn bytes(bytes: &Arc<[u8]>) -> ByteBuf {
    ByteBuf::from(bytes.to_vec())
}

fn save_revision<'a>(record: &'a Record, paths: &mut Paths<'a>) -> SavedRevision {
    SavedRevision {
        stamp: SavedStamp::from(&*record.stamp),
        touched: record.touched.iter().map(|path| paths.number(path)).collect(),
        updates: record.updates.as_ref().map(|updates| updates.iter().map(bytes).collect()),
        checkpoint: record.checkpoint.as_ref().map(bytes),
        name: record.name.as_deref().map(str::to_owned),
    }
}

/// The loaded path with a number.
fn path(paths: &[Arc<str>], number: u32) -> Result<Arc<str>, HistoryError> {
    let found = usize::try_from(number).ok().and_then(|at| paths.get(at));
    found.cloned().ok_or_else(|| damaged("a path is missing"))
}

fn load_revision(saved: SavedRevision, paths: &[Arc<str>]) -> Result<Record, HistoryError> {
    let touched: Vec<Arc<str>> =
        saved.touched.iter().map(|number| path(paths, *number)).collect::<Result<_, _>>()?;
    let arc = |bytes: ByteBuf| Arc::from(bytes.into_vec());
    Ok(Record {
        stamp: Arc::new(saved.stamp.try_into()?),
        touched: touched.into(),
        updates: saved.updates.map(|updates| updates.into_iter().map(arc).collect()),
        checkpoint: saved.checkpoint.map(arc),
        name: saved.name.map(Arc::from),
    })
}

impl<S: State, B: Backend> History<S, B> {
    /// The history as bytes. Keep them beside the saved document and read them again with
    /// [`Store::history_from`]. O(history).
    ///
    /// The bytes hold every checkpoint and every update without compression. An application that
    /// wants fewer bytes compresses them.
    ///
    /// # Errors
    /// [`HistoryError::Nested`] inside a change.
    pub fn save(&self) -> Result<Vec<u8>, HistoryError> {
        let (list, faded, (version, digest)) = self.store.write_history(|replica, _| {
            let records = self.records.lock();
            Ok((records.list.clone(), records.faded.clone(), state_of(replica)))
        })?;
        // The writer lock is free again, so that other threads can write. The copied records share
        // their bytes with the history.
        let mut paths = Paths::default();
        let revisions = list.iter().map(|record| save_revision(record, &mut paths)).collect();
        let faded = faded
            .iter()
            .map(|(path, stamp)| (paths.number(path.as_str()), SavedStamp::from(&**stamp)))
            .collect();
        let backend = B::NAME.to_owned();
        Ok(encode(&Saved {
            format: FORMAT,
            backend,
            version,
            digest,
            paths: paths.list,
            revisions,
            faded,
        }))
    }
}

/// Version and digest of the document. They show whether it changed without its history.
fn state_of<B: Backend>(replica: &Replica<B>) -> (ByteBuf, ByteBuf) {
    (ByteBuf::from(replica.version().to_bytes()), ByteBuf::from(replica.digest().to_bytes()))
}

impl<S: State, B: Backend> Store<S, B> {
    /// Continues a saved history of this document, from an earlier run of the program. If the
    /// document has changed since, the updates that lead to it are not known: the present state is
    /// then a new revision.
    ///
    /// ```
    /// use exostate::{HistoryOptions, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String }
    ///
    /// let store = Store::<Note>::new();
    /// let history = store.history(HistoryOptions::default())?;
    /// store.change(|note| note.title().set("Plan"))?;
    /// history.name("first")?;
    /// let (document, kept) = (store.save(), history.save()?);
    ///
    /// let store = Store::<Note>::open(&document)?;
    /// let history = store.history_from(&kept, HistoryOptions::default())?;
    /// store.change(|note| note.title().set("Trip"))?;
    /// let first = history.find("first").unwrap();
    /// assert_eq!(history.view_at(first)?.title, "Plan");
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// The bytes are not a saved history, or are one of another backend; [`HistoryError::Nested`]
    /// inside a change; an error if the backend cannot save the document.
    pub fn history_from(
        &self,
        bytes: &[u8],
        options: HistoryOptions,
    ) -> Result<History<S, B>, HistoryError> {
        let saved: Saved = decode(bytes).map_err(damaged)?;
        if saved.format != FORMAT {
            return Err(damaged("another format"));
        }
        if saved.backend != B::NAME {
            return Err(damaged(format!("one of the backend {}", saved.backend)));
        }
        let paths: Vec<Arc<str>> = saved.paths.into_iter().map(Arc::from).collect();
        let revisions = saved.revisions.into_iter().map(|revision| load_revision(revision, &paths));
        let list = revisions.collect::<Result<VecDeque<Record>, _>>()?;
        let faded = saved
            .faded
            .into_iter()
            .map(|(number, stamp)| Ok((Key(path(&paths, number)?), Arc::new(stamp.try_into()?))));
        let faded = faded.collect::<Result<BTreeMap<Key, Arc<Stamp>>, HistoryError>>()?;
        check(&list)?;
        let known = (saved.version, saved.digest);
        self.keep_history(|replica, now| {
            let mut records = Records::from_parts(options, list, faded);
            if known != state_of(replica) {
                records.found(now, replica.checkpoint()?);
            }
            Ok(records)
        })
    }
}

/// Checks what the rest of the history relies on: there are revisions, and their ids are valid and
/// ascend.
fn check(list: &VecDeque<Record>) -> Result<(), HistoryError> {
    let ids = || list.iter().map(|record| record.stamp.id);
    if list.is_empty()
        || !ids().is_sorted_by(|a, b| a < b)
        || ids().any(|id| id == 0 || id > ID_MAX)
    {
        return Err(damaged("its revisions have no order"));
    }
    Ok(())
}
