//! After any sequence of actions, a history holds what it lists, and its sums are right.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::document::commit::{Touch, in_key_order};

fn commit(touched: Arc<[Arc<str>]>, updates: Vec<Arc<[u8]>>, time: Option<SystemTime>) -> Commit {
    Commit { touch: Touch::of_all(touched), updates, origin: Origin::Local, meta: None, time }
}

/// One action on a history. The document is a number: how many updates it has seen. Its size in
/// bytes is given by the action.
#[derive(Clone, Debug)]
enum Action {
    Add { updates: Vec<u16>, paths: Vec<u8>, document: u16, minutes: u8, saves: bool },
    Part(u16),
    Replaced,
    Name,
    Rename(u16),
    Unname(u16),
    Compact,
    Found,
    Reload(u32),
}

fn action() -> impl Strategy<Value = Action> {
    let add = (
        prop::collection::vec(0..30_000_u16, 0..3),
        prop::collection::vec(0..6_u8, 0..4),
        0..20_000_u16,
        0..5_u8,
        0..10_u8,
    );
    let add = add.prop_map(|(updates, paths, document, minutes, saves)| Action::Add {
        updates,
        paths,
        document,
        minutes,
        saves: saves > 0,
    });
    prop_oneof![
        12 => add,
        1 => any::<u16>().prop_map(Action::Part),
        1 => Just(Action::Replaced),
        2 => Just(Action::Name),
        1 => any::<u16>().prop_map(Action::Rename),
        2 => any::<u16>().prop_map(Action::Unname),
        1 => Just(Action::Compact),
        1 => Just(Action::Found),
        1 => (0..400_000_u32).prop_map(Action::Reload),
    ]
}

fn bytes(number: u64, len: u16) -> Arc<[u8]> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + usize::from(len), 0);
    bytes.into()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map(u64::from_le_bytes).expect("eight bytes")
}

struct Model {
    records: Records,
    /// The document at each revision that ever existed.
    documents: BTreeMap<u64, u64>,
    named: BTreeMap<u64, Arc<str>>,
    last_writers: BTreeMap<u8, u64>,
    document: u64,
    size: u16,
    now: SystemTime,
    /// Whether the document was replaced and could not be saved there.
    lost: bool,
}

impl Model {
    fn new(bytes_max: usize) -> Self {
        let options = HistoryOptions::new()
            .with_bytes_max(bytes_max)
            .with_checkpoint_every(Duration::from_secs(20 * 60));
        let now = SystemTime::UNIX_EPOCH;
        let records = Records::new(options, now, bytes(0, 0));
        let named = BTreeMap::new();
        let last_writers = BTreeMap::new();
        Self {
            records,
            documents: BTreeMap::from([(1, 0)]),
            named,
            last_writers,
            document: 0,
            size: 0,
            now,
            lost: false,
        }
    }

    fn update(&mut self, len: u16) -> Arc<[u8]> {
        self.document += 1;
        bytes(self.document, len)
    }

    fn pick(&self, at: u16) -> (usize, u64) {
        let at = usize::from(at) % self.records.list.len();
        (at, self.records.list[at].stamp.id)
    }

    fn act(&mut self, action: &Action) {
        let present = bytes(self.document, self.size);
        match action {
            Action::Add { updates, paths, document, minutes, saves } => {
                self.now += Duration::from_secs(60 * u64::from(*minutes));
                self.size = *document;
                let updates: Vec<_> = updates.iter().map(|len| self.update(*len)).collect();
                let mut touched: Vec<Arc<str>> =
                    paths.iter().map(|path| Arc::from(path.to_string())).collect();
                in_key_order(&mut touched);
                let commit = commit(touched.into(), updates, Some(self.now));
                let replaced = self.records.replaced;
                let present = bytes(self.document, self.size);
                self.records.record(&commit, &mut || saves.then(|| Arc::clone(&present)));
                self.lost = self.records.list.back().is_none_or(|last| last.checkpoint.is_none())
                    && (self.lost || replaced);
                paths
                    .iter()
                    .for_each(|path| _ = self.last_writers.insert(*path, self.records.last_id()));
            }
            Action::Part(len) => {
                let update = self.update(*len);
                return self.records.part(&[update]);
            }
            Action::Replaced => {
                self.document += 1_000;
                return self.records.replaced();
            }
            // Before one of the following actions, a store shows all imported updates.
            _ if self.records.replaced || !self.records.parts.is_empty() => return,
            Action::Name => {
                let name: Arc<str> = Arc::from(self.documents.len().to_string());
                self.records.name(Arc::clone(&name), present, self.now);
                self.named.insert(self.records.last_id(), name);
                self.lost = false;
            }
            Action::Rename(at) => {
                let (at, id) = self.pick(*at);
                if self.lost || self.records.way(RevisionId::of(id)).is_err() {
                    return;
                }
                self.records.keep(at, bytes(self.documents[&id], 10), Some("renamed".into()));
                self.records.trim();
                self.named.insert(id, "renamed".into());
            }
            Action::Unname(at) => {
                let (at, id) = self.pick(*at);
                assert_eq!(self.records.unname(at), self.named.remove(&id).is_some());
            }
            Action::Compact => {
                self.records.compact(present);
                assert!(self.records.list.len() <= self.named.len() + 1);
                self.lost = false;
            }
            Action::Found => {
                self.document += 1_000;
                self.records.found(self.now, bytes(self.document, self.size));
                self.lost = false;
            }
            Action::Reload(bytes_max) => {
                let options = self
                    .records
                    .options
                    .clone()
                    .with_bytes_max(usize::try_from(*bytes_max).expect("it is small"));
                let list = self.records.list.clone();
                let faded = self.records.faded.clone();
                self.records = Records::from_parts(options, list, faded);
            }
        }
        self.documents.insert(self.records.last_id(), self.document);
    }

    fn check(&self) {
        let records = &self.records;
        assert_eq!(
            records.last().map(|last| last.stamp.id),
            self.documents.keys().next_back().copied(),
            "the newest is there"
        );
        assert!(records.list.iter().is_sorted_by(|a, b| a.stamp.id < b.stamp.id));
        assert_eq!(records.bytes, records.list.iter().map(Record::bytes).sum::<usize>());
        let named: BTreeMap<u64, Arc<str>> = records
            .list
            .iter()
            .filter_map(|record| Some((record.stamp.id, record.name.clone()?)))
            .collect();
        assert_eq!(named, self.named);
        for record in &records.list {
            let id = record.stamp.id;
            match records.way(RevisionId::of(id)) {
                Ok(way) => {
                    let mut document = number(&way.checkpoint);
                    for update in &way.updates {
                        document += 1;
                        assert_eq!(number(update), document, "revision {id}");
                    }
                    assert_eq!(document, self.documents[&id], "revision {id}");
                }
                Err(_) => {
                    assert!(record.checkpoint.is_none() && record.name.is_none(), "revision {id}")
                }
            }
        }
        for (path, id) in &self.last_writers {
            let newest =
                records.newest_at(&path.to_string(), true).map(|revision| revision.id().get());
            assert_eq!(newest, Some(*id), "who wrote {path}");
        }
    }

    /// The history exceeds its bound at most by the newest checkpoint and by what came since
    /// anything could be forgotten.
    fn check_bound(&self, step: usize) {
        let newest = &self.records.newest;
        let room = newest.bytes + newest.bytes.max(CHECKPOINT_BYTES_MIN) + RECORD_BYTES + step;
        assert!(
            self.records.bytes <= self.records.options.bytes_max + room,
            "{} bytes",
            self.records.bytes
        );
    }
}

/// A forgotten revision that touched more paths than can be remembered does not make the history
/// forget all other paths.
#[test]
fn forgotten_records_keep_the_newest_writers_up_to_the_limit() {
    let mut records = Records::new(HistoryOptions::new(), SystemTime::UNIX_EPOCH, bytes(0, 0));
    for step in 0..3 {
        let touched: Arc<[Arc<str>]> =
            (0..FADED_PATHS_MAX + 7).map(|path| Arc::from(format!("{step}/{path}"))).collect();
        records.record(&commit(touched, Vec::new(), None), &mut || None);
        records.compact(bytes(0, 0));
    }
    assert_eq!(records.faded.len(), FADED_PATHS_MAX / 2);
    assert!(records.faded.values().all(|stamp| stamp.id == 3), "older ones stay for newer ones");
}

/// A long history has to fit into a small bound at once. The work does not grow with the pairs of
/// its revisions.
#[test]
fn a_long_history_is_cut_in_one_pass() {
    for (updates, named) in
        [(false, 1_000_000), (false, 777), (true, 1_000_000), (true, 777), (false, 2)]
    {
        let record = |id: u64| Record {
            stamp: Arc::new(Stamp { id, origin: None, time: SystemTime::UNIX_EPOCH, meta: None }),
            touched: Arc::default(),
            updates: updates.then(Vec::new),
            checkpoint: Some(bytes(id, 0)),
            name: id.is_multiple_of(named).then(|| "named".into()),
        };
        let list: VecDeque<Record> = (1..=20_000).map(record).collect();
        let options = HistoryOptions::new().with_bytes_max(100 * RECORD_BYTES);
        let records = Records::from_parts(options, list, BTreeMap::new());
        let left: Vec<u64> = records
            .list
            .iter()
            .filter(|record| record.name.is_none())
            .map(|record| record.stamp.id)
            .collect();
        assert!((50..=100).contains(&left.len()), "{left:?}");
        assert_eq!(
            records.list.len() - left.len(),
            usize::try_from(20_000 / named).expect("it is small")
        );
        assert_eq!(records.last_id(), 20_000);
        // The older the revisions, the fewer are left.
        assert!(left[10] - left[0] >= left[left.len() - 1] - left[left.len() - 11], "{left:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn listed_revisions_can_be_read(
        actions in prop::collection::vec(action(), 0..60),
        bytes_max in 0..300_000_usize,
    ) {
        let mut model = Model::new(bytes_max);
        for action in &actions {
            model.act(action);
            model.check();
            if actions.iter().all(|action| !matches!(action, Action::Add { saves: false, .. })) {
                model.check_bound(200_000);
            }
        }
    }
}
