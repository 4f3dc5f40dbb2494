//! Random sequences of calls, compared with a simple model: the adapter in memory.

use std::ops::RangeInclusive;

use exostate_storage::{Adapter, AdapterError, MemoryAdapter};
use proptest::prelude::*;

use super::places::{Kind, Place, all};
use crate::{list, read, record, reopened};

const DOCUMENTS: u8 = 3;

/// A step of a sequence. A document is a number here.
#[derive(Clone, Debug)]
enum Step {
    /// So many records behind the last one, of this length.
    Append {
        document: u8,
        records: u8,
        length: usize,
    },
    /// The last records again, with other bytes.
    Again {
        document: u8,
        records: u8,
    },
    /// A snapshot of this length, which covers all but so many records.
    Replace {
        document: u8,
        uncovered: u8,
        length: usize,
    },
    /// A snapshot of this length, which covers all records.
    Overwrite {
        document: u8,
        length: usize,
    },
    Delete {
        document: u8,
    },
    Sync,
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    let length = || prop_oneof![4 => 0_usize..50, 1 => 3000_usize..20_000];
    let numbers = || (0..DOCUMENTS, 0_u8..5);
    prop_oneof![
        6 => (numbers(), length()).prop_map(|((document, records), length)| {
            Step::Append { document, records, length }
        }),
        2 => numbers().prop_map(|(document, records)| Step::Again { document, records }),
        2 => (numbers(), length()).prop_map(|((document, uncovered), length)| {
            Step::Replace { document, uncovered, length }
        }),
        1 => (0..DOCUMENTS, length()).prop_map(|(document, length)| {
            Step::Overwrite { document, length }
        }),
        1 => (0..DOCUMENTS).prop_map(|document| Step::Delete { document }),
        3 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

fn name(document: u8) -> String {
    format!("document {document}")
}

/// The adapter and the model take the same calls.
struct Pair<'a> {
    adapter: &'a dyn Adapter,
    model: &'a MemoryAdapter,
    /// Each step writes other bytes.
    seed: u64,
}

impl Pair<'_> {
    fn call(&self, call: impl Fn(&dyn Adapter) -> Result<(), AdapterError>) {
        call(self.adapter).expect("the adapter takes it");
        call(self.model).expect("the model takes it");
    }

    /// The last number that the snapshot covers, and the number of the last record.
    fn numbers(&self, document: &str) -> (u64, u64) {
        let stored = self.model.read(document).expect("it reads").unwrap_or_default();
        let covers = stored.snapshot.map_or(0, |(covers, _)| covers);
        (covers, covers + stored.records.len() as u64)
    }

    fn bytes(&self, number: u64, length: usize) -> Vec<u8> {
        vec![(number + self.seed) as u8; length]
    }

    fn append(&self, document: &str, numbers: RangeInclusive<u64>, length: usize) {
        let bytes = numbers.map(|number| (number, self.bytes(number, length)));
        let bytes: Vec<_> = bytes.collect();
        let records = bytes.iter().map(|(number, bytes)| record(document, *number, bytes));
        let records: Vec<_> = records.collect();
        self.call(|adapter| adapter.append(&records));
    }

    fn make(&self, step: &Step) {
        match *step {
            Step::Append { document, records, length } => {
                let document = name(document);
                let (_, last) = self.numbers(&document);
                self.append(&document, last + 1..=last + u64::from(records), length);
            }
            Step::Again { document, records } => {
                let document = name(document);
                let (covers, last) = self.numbers(&document);
                let before = last.saturating_sub(records.into()).max(covers);
                self.append(&document, before + 1..=last, 7);
            }
            Step::Replace { document, uncovered, length } => {
                let document = name(document);
                let (covers, last) = self.numbers(&document);
                let covers = last.saturating_sub(uncovered.into()).max(covers);
                let snapshot = self.bytes(covers, length);
                self.call(|adapter| adapter.replace(&document, covers, &snapshot));
            }
            Step::Overwrite { document, length } => {
                let document = name(document);
                let (_, last) = self.numbers(&document);
                let snapshot = self.bytes(last, length);
                self.call(|adapter| adapter.overwrite(&document, last, &snapshot));
            }
            Step::Delete { document } => self.call(|adapter| adapter.delete(&name(document))),
            Step::Sync | Step::Reopen => self.call(|adapter| adapter.sync()),
        }
    }
}

fn check(kind: Kind, steps: &[Step]) {
    let place = Place::new(kind);
    let mut adapter = place.open().expect("it opens");
    let model = MemoryAdapter::new();
    for (seed, step) in steps.iter().enumerate() {
        Pair { adapter: &*adapter, model: &model, seed: seed as u64 }.make(step);
        if matches!(step, Step::Reopen) {
            adapter = reopened(&place, adapter);
        }
        // What is not synced may be seen or not.
        if matches!(step, Step::Sync | Step::Reopen) {
            assert_eq!(list(&*adapter), list(&model), "{}", kind.name);
            for document in 0..DOCUMENTS {
                let document = name(document);
                let found = read(&*adapter, &document);
                assert!(found == read(&model, &document), "{}: {document}", kind.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn adapters_agree_with_the_model(steps in proptest::collection::vec(any_step(), 1..40)) {
        let steps = [&steps[..], &[Step::Reopen]].concat();
        for kind in all() {
            check(kind, &steps);
        }
    }
}
