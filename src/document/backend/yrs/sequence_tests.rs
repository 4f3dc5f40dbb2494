//! Edits of texts and lists that an index places, beside the same edits through the calls of yrs.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::document::ops::RegisterWrite;
use crate::document::replica::mirror::{splice_list, splice_text};
use crate::document::rope::Rope;

/// What one replica does.
#[derive(Clone, Debug)]
enum Edit {
    Text { at: Index, delete: u8, insert: &'static str, marked: bool },
    Mark { at: Index, len: u8, clear: bool },
    List { at: Index, delete: u8, insert: u8 },
    Clear { list: bool },
    Register(u8),
}

#[derive(Clone, Debug)]
enum Step {
    Commit {
        replica: usize,
        edits: Vec<Edit>,
    },
    Send {
        from: usize,
        to: usize,
    },
    /// Everything that the receiver lacks, in one update.
    SendAll {
        from: usize,
        to: usize,
    },
    Reload {
        replica: usize,
    },
}

fn edit(marks: bool) -> impl Strategy<Value = Edit> {
    let insert = prop_oneof![
        3 => Just("a"),
        1 => Just(""),
        2 => Just("bc"),
        1 => Just("\u{1f600}"),
        1 => Just("long enough to be cut")
    ];
    prop_oneof![
        6 => (any::<Index>(), prop_oneof![3 => Just(0u8), 1 => 1u8..6], insert, any::<bool>())
            .prop_map(move |(at, delete, insert, marked)| {
                Edit::Text { at, delete, insert, marked: marked && marks }
            }),
        u32::from(marks) => (any::<Index>(), 1u8..5, any::<bool>())
            .prop_map(|(at, len, clear)| Edit::Mark { at, len, clear }),
        4 => (any::<Index>(), prop_oneof![3 => Just(0u8), 1 => 1u8..4], 0u8..4)
            .prop_map(|(at, delete, insert)| Edit::List { at, delete, insert }),
        1 => any::<bool>().prop_map(|list| Edit::Clear { list }),
        2 => (0u8..4).prop_map(Edit::Register),
    ]
}

const REPLICAS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let commit = |marks| {
        (0..REPLICAS, prop::collection::vec(edit(marks), 1..4))
            .prop_map(|(replica, edits)| Step::Commit { replica, edits })
    };
    prop_oneof![
        6 => commit(false),
        3 => commit(true),
        5 => (0..REPLICAS, 0..REPLICAS).prop_map(|(from, to)| Step::Send { from, to }),
        1 => (0..REPLICAS, 0..REPLICAS).prop_map(|(from, to)| Step::SendAll { from, to }),
        1 => (0..REPLICAS).prop_map(|replica| Step::Reload { replica }),
    ]
}

/// A replica with its own copy of the sequences, as `Replica` keeps one.
struct Peer {
    yrs: Yrs,
    text: Rope,
    list: Vec<Value>,
    /// All own updates.
    sent: Vec<Vec<u8>>,
    /// How many updates of each replica have arrived.
    received: [usize; REPLICAS],
    lives: u64,
}

fn name() -> Arc<str> {
    Arc::from("sequence")
}

impl Peer {
    fn id(number: usize, lives: u64) -> ReplicaId {
        ReplicaId::from_bits(10 * lives + number as u64 + 1)
    }

    fn new(number: usize) -> Self {
        Self {
            yrs: Yrs::empty(Self::id(number, 0)),
            text: Rope::new(),
            list: Vec::new(),
            sent: Vec::new(),
            received: [0; REPLICAS],
            lives: 0,
        }
    }

    fn read(&mut self, kind: SequenceKind) {
        match kind {
            SequenceKind::Text => self.text = Rope::from_runs(self.yrs.text("sequence")),
            SequenceKind::List => self.list = self.yrs.list("sequence"),
        }
    }

    /// The edits as ops. They keep the copy of the sequences up to date.
    fn stage(&mut self, edits: &[Edit], number: &mut i64) -> Ops {
        let mut ops = Ops::default();
        for edit in edits {
            match edit {
                Edit::Text { at, delete, insert, marked } => {
                    let chars = self.text.len_chars();
                    let from = at.index(chars + 1);
                    let to = (from + usize::from(*delete)).min(chars);
                    let bold = || Arc::new(Marks::from([(Arc::from("bold"), Value::Bool(true))]));
                    // Typed text mostly gets the marks of the character before it.
                    let marks = match marked {
                        true => Some(bold()),
                        false => self.text.marks_of_insertion(&(from..to)).cloned(),
                    };
                    ops.push(SequenceOp::Text {
                        name: name(),
                        at: self.units(0, from),
                        delete: self.units(from, to),
                        insert: Arc::from(*insert),
                        marks: marks.clone(),
                        inherits: self.text.inherits(from, marks.as_ref()),
                    });
                    self.text.delete(from..to);
                    self.text.insert(from, insert, marks);
                }
                Edit::Mark { at, len, clear } => {
                    let chars = self.text.len_chars();
                    let from = at.index(chars + 1);
                    let to = (from + usize::from(*len)).min(chars);
                    let mark = Arc::from("bold");
                    let value = if *clear { Value::Null } else { Value::Bool(true) };
                    // The store writes no mark that changes nothing.
                    if self.text.is_marked(from..to, "bold", &value) {
                        continue;
                    }
                    ops.push(SequenceOp::Mark {
                        name: name(),
                        at: self.units(0, from),
                        len: self.units(from, to),
                        mark: Arc::clone(&mark),
                        value: value.clone(),
                    });
                    self.text.mark(from..to, &mark, &value);
                }
                Edit::List { at, delete, insert } => {
                    let at = at.index(self.list.len() + 1);
                    let delete = usize::from(*delete).min(self.list.len() - at);
                    let insert: Vec<Value> = (0..*insert)
                        .map(|_| {
                            *number += 1;
                            Value::Int(*number)
                        })
                        .collect();
                    self.list.splice(at..at + delete, insert.iter().cloned());
                    ops.push(SequenceOp::List { name: name(), at, delete, insert });
                }
                Edit::Clear { list } => {
                    let kind = if *list { SequenceKind::List } else { SequenceKind::Text };
                    match list {
                        true => self.list.clear(),
                        false => self.text = Rope::new(),
                    }
                    ops.push(SequenceOp::Clear { name: name(), kind });
                }
                Edit::Register(key) => {
                    *number += 1;
                    let new = Some(Value::Int(*number));
                    let key = Key(Arc::from(format!("k{key}")));
                    ops.registers.insert(key, RegisterWrite { old: None, new });
                }
            }
        }
        ops
    }

    /// The length of a range of characters.
    fn units(&self, from: usize, to: usize) -> Units {
        let utf16 = self.text.char_to_utf16(to) - self.text.char_to_utf16(from);
        Units { chars: to - from, utf16 }
    }

    /// Commits the edits with the index, and without it in a copy. Both must do the same.
    fn commit(&mut self, replica: usize, edits: &[Edit], number: &mut i64) {
        let mut copy = Yrs::load(Self::id(replica, self.lives), &self.yrs.save(), &Limits::own())
            .expect("a document");
        copy.set_sequence_indexes(false);
        copy.marks = self.yrs.marks;
        let ops = self.stage(edits, number);
        let (_, updates) = self.yrs.commit(&ops).expect("a commit");
        let (_, expected) = copy.commit(&ops).expect("a commit");
        // Edits that go through the calls of yrs come after all edits that an index places. So the
        // order of the ops can only differ if a change has edits of two sequences.
        let targets: BTreeSet<_> = ops.sequences.iter().map(SequenceOp::target).collect();
        if targets.len() < 2 || !self.yrs.marks {
            assert_eq!(updates, expected, "{ops:?}");
        }
        assert_eq!(self.yrs.text("sequence"), copy.text("sequence"));
        assert_eq!(self.yrs.list("sequence"), copy.list("sequence"));
        self.sent.extend(updates);
        self.check();
    }

    fn import(&mut self, update: &[u8]) {
        let checked = self.yrs.unpack(update, &Limits::own()).expect("an update");
        self.yrs.validate_ready(&checked, &Limits::own()).expect("it fits");
        let applied = self.yrs.import(&checked, true).expect("an import");
        for sequence in applied.touched.sequences {
            let splices = applied.splices.get(&sequence).cloned().flatten();
            let done = splices.and_then(|splices| match sequence.0 {
                SequenceKind::Text => splice_text(&mut self.text, &splices).map(drop),
                SequenceKind::List => {
                    let mut list = self.list.iter().cloned().collect();
                    splice_list(&mut list, splices)?;
                    self.list = list.iter().cloned().collect();
                    Some(())
                }
            });
            if done.is_none() {
                self.read(sequence.0);
            }
        }
        self.check();
    }

    fn type_at_the_start(&mut self, text: &'static str) {
        let ops = Ops {
            sequences: vec![SequenceOp::Text {
                name: name(),
                at: Units::default(),
                delete: Units::default(),
                insert: Arc::from(text),
                marks: None,
                inherits: true,
            }],
            ..Ops::default()
        };
        self.text.insert(0, text, None);
        self.yrs.commit(&ops).expect("a commit");
        self.check();
    }

    fn check(&self) {
        assert_eq!(Rope::from_runs(self.yrs.text("sequence")), self.text);
        assert_eq!(self.yrs.list("sequence"), self.list);
    }
}

/// Without this, the comparisons of this file would also hold if no index were ever used.
fn edits_go_through_the_index(edits: &[Edit]) {
    let [mut writer, mut reader] = [Peer::new(0), Peer::new(1)];
    let mut number = 0;
    for edit in edits {
        writer.commit(0, std::slice::from_ref(edit), &mut number);
        for update in writer.sent.drain(..) {
            let checked = reader.yrs.unpack(&update, &Limits::own()).expect("an update");
            let applied = reader.yrs.import(&checked, true).expect("an import");
            let sequences = applied.touched.sequences.iter();
            let is_placed = |sequence| applied.splices.get(sequence).is_some_and(Option::is_some);
            assert!(sequences.clone().all(is_placed), "read again after {edit:?}");
        }
        let ready = |yrs: &Yrs| (0..8).filter(|root| yrs.indexes.get(*root).is_some()).count();
        let edited = usize::from(!writer.text.is_empty()) + usize::from(!writer.list.is_empty());
        assert!(ready(&writer.yrs).min(ready(&reader.yrs)) >= edited, "no index after {edit:?}");
    }
}

fn run(steps: &[Step]) {
    let mut peers: Vec<Peer> = (0..REPLICAS).map(Peer::new).collect();
    // One replica has no index at all.
    peers[2].yrs.set_sequence_indexes(false);
    let mut number = 0;
    for step in steps {
        match step {
            Step::Commit { replica, edits } => {
                peers[*replica].commit(*replica, edits, &mut number);
            }
            Step::Send { from, to } => send(&mut peers, *from, *to, 1),
            Step::SendAll { from, to } if from != to => {
                let version = peers[*to].yrs.version();
                let updates = peers[*from].yrs.updates_since(&version).expect("a version");
                updates.iter().for_each(|update| peers[*to].import(update));
            }
            Step::SendAll { .. } => {}
            Step::Reload { replica } => {
                let peer = &mut peers[*replica];
                peer.lives += 1;
                let id = Peer::id(*replica, peer.lives);
                let marks = peer.yrs.marks;
                let on = peer.yrs.has_sequence_indexes();
                peer.yrs = Yrs::load(id, &peer.yrs.save(), &Limits::own()).expect("a document");
                peer.yrs.set_sequence_indexes(on);
                peer.yrs.marks = marks;
                peer.check();
            }
        }
    }
    // An update can wait for one of another replica.
    let lacks = |peers: &[Peer]| {
        let sent: Vec<usize> = peers.iter().map(|peer| peer.sent.len()).collect();
        let lacks = |(at, peer): (usize, &Peer)| {
            peer.received
                .iter()
                .zip(&sent)
                .enumerate()
                .any(|(from, (n, sent))| from != at && n < sent)
        };
        peers.iter().enumerate().any(lacks)
    };
    while lacks(&peers) {
        for (from, to) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
            send(&mut peers, from, to, usize::MAX);
        }
    }
    let contents: Vec<_> =
        peers.iter().map(|peer| (peer.yrs.text("sequence"), peer.list.clone())).collect();
    assert!(contents.iter().all(|content| *content == contents[0]), "{contents:?}");
}

/// Sends own updates that have not arrived yet, in the order in which they were made.
fn send(peers: &mut [Peer], from: usize, to: usize, most: usize) {
    if from == to {
        return;
    }
    let first = peers[to].received[from];
    let updates: Vec<_> = peers[from].sent[first..].iter().take(most).cloned().collect();
    for update in updates {
        let checked = peers[to].yrs.unpack(&update, &Limits::own()).expect("an update");
        let known = peers[to].yrs.doc.transact().state_vector();
        if !checked[0].summary.fits(|client| known.get(&ClientID::new(client))) {
            return;
        }
        peers[to].import(&update);
        peers[to].received[from] += 1;
    }
}

/// Positions of ops, and anchors, are those of yrs.
fn anchors_agree(steps: &[Step]) {
    let mut peer = Peer::new(0);
    let mut number = 0;
    let mut anchors: Vec<Vec<u8>> = Vec::new();
    for step in steps {
        let Step::Commit { edits, .. } = step else { continue };
        peer.commit(0, edits, &mut number);
        let mut plain = Yrs::load(Peer::id(7, 0), &peer.yrs.save(), &Limits::own()).expect("valid");
        plain.set_sequence_indexes(false);
        for at in 0..=peer.text.len_chars() {
            for before in [false, true] {
                let at = peer.units(0, at);
                let anchor = peer.yrs.anchor("sequence", at, before);
                assert_eq!(anchor, plain.anchor("sequence", at, before), "{at:?} {before}");
                anchors.extend(anchor);
            }
        }
        for anchor in &anchors {
            let position = peer.yrs.resolve("sequence", anchor);
            assert_eq!(position, plain.resolve("sequence", anchor));
        }
        anchors.truncate(64);
    }
}

proptest! {
    #[test]
    fn an_edit_without_marks_goes_through_the_index(
        edits in prop::collection::vec(edit(false), 1..40),
    ) {
        edits_go_through_the_index(&edits);
    }

    #[test]
    fn an_indexed_replica_does_what_yrs_does(steps in prop::collection::vec(step(), 0..40)) {
        run(&steps);
    }

    #[test]
    fn an_index_gives_the_anchors_of_yrs(steps in prop::collection::vec(step(), 0..12)) {
        anchors_agree(&steps);
    }
}

/// A peer with a text of one replica.
fn with_text(text: &'static str) -> Peer {
    let mut peer = Peer::new(0);
    peer.type_at_the_start(text);
    peer
}

/// Two ops that refer to each other, of which one has the id of the victim's next op.
#[test]
fn ops_that_refer_to_each_other_are_refused() {
    let mut peer = with_text("ab");
    let circle = [2, 1, 5, 0, 0x84, 1, 2, 1, b'x', 1, 1, 2, 0x84, 5, 0, 1, b'y', 0];
    let checked = peer.yrs.unpack(&circle, &Limits::own()).expect("well formed");
    assert!(peer.yrs.import(&checked, true).is_err());
}

/// The origin was garbage-collected, so yrs takes the root from the right origin.
#[test]
fn an_op_beside_a_collected_one_is_not_missed() {
    let mut peer = with_text("ab");
    let hidden = [1, 2, 5, 0, 0, 1, 0xc4, 5, 0, 1, 0, 1, b'x', 0];
    peer.import(&hidden);
    let after_b = [1, 1, 6, 0, 0x84, 1, 1, 1, b'y', 0];
    peer.import(&after_b);
    peer.type_at_the_start("z");
}

/// A peer on Yjs types within a character of two code units, and deletes what it typed. yrs
/// replaces the character.
#[test]
fn a_character_that_is_split_is_read_again() {
    for bytes in [
        // The origin is within the character.
        &[1, 1, 5, 0, 0x81, 1, 0, 1, 1, 5, 1, 0, 1][..],
        // So is the right origin.
        &[1, 1, 5, 0, 0xc1, 1, 0, 1, 1, 1, 1, 5, 1, 0, 1],
        &[1, 1, 5, 0, 0x84, 1, 0, 1, b'x', 1, 5, 1, 0, 1],
    ] {
        let mut peer = with_text("\u{1f600}");
        peer.import(bytes);
    }
}

/// An update with one op of each of many clients. Each stands behind the op of the client with the
/// next lower id, which comes later in the update.
fn chain(clients: u64, deleted: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::varint::put(&mut bytes, clients);
    for client in (10..10 + clients).rev() {
        bytes.push(1);
        crate::varint::put(&mut bytes, client);
        bytes.extend([0, if deleted { 0x81 } else { 0x84 }]);
        crate::varint::put(&mut bytes, if client == 10 { 1 } else { client - 1 });
        bytes.push(0);
        bytes.extend(if deleted { &[1][..] } else { &[1, b'x'] });
    }
    bytes.push(0);
    bytes
}

#[test]
fn a_chain_of_ops_of_many_clients_is_not_missed() {
    for deleted in [false, true] {
        let mut peer = with_text("a");
        peer.import(&chain(3_000, deleted));
        let spans = |yrs: &mut Yrs| {
            let number = yrs.op_roots.number("T:sequence");
            yrs.indexes.ready(number).map(|index| index.spans())
        };
        assert_eq!(spans(&mut peer.yrs), Some(3_001));
        peer.type_at_the_start("z");
        let mut loaded =
            Yrs::load(Peer::id(0, 1), &peer.yrs.save(), &Limits::own()).expect("a document");
        assert_eq!(spans(&mut loaded), spans(&mut peer.yrs));
    }
}
