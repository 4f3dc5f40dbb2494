use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn stamp(replica: u64, number: u64) -> Stamp {
    Stamp { replica: ReplicaId::from_bits(replica), number }
}

/// Positions of other schemes and of this scheme.
fn any_position() -> impl Strategy<Value = Vec<u8>> {
    let ours = prop::collection::vec((0..4u64, 0..4u64, 0..3u8), 1..6).prop_map(|steps| {
        steps.into_iter().fold(Vec::new(), |low, (replica, number, side)| match side {
            0 => between(Some(&low), None, stamp(replica, number)).expect("there is room above"),
            1 => between(None, Some(&low), stamp(replica, number)).unwrap_or(low),
            _ => level::new_node(&low, 0, stamp(replica, number)),
        })
    });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..6),
        prop::collection::vec(any::<u8>(), 0..30),
        ours
    ]
}

/// An element that one replica inserts: next to the last or the first element of its run, or inside
/// the run.
#[derive(Clone, Debug)]
struct Step {
    side: u8,
    at: usize,
}

/// The edits of one replica in a round: it removes elements and inserts a run.
#[derive(Clone, Debug)]
struct Turn {
    replica: u64,
    removes: Vec<usize>,
    place: usize,
    run: Vec<Step>,
    removes_later: Vec<usize>,
}

fn turn() -> impl Strategy<Value = Turn> {
    let run = prop::collection::vec(
        (0..6u8, any::<prop::sample::Index>())
            .prop_map(|(side, at)| Step { side, at: at.index(100) }),
        1..7,
    );
    let few = || prop::collection::vec(0..100usize, 0..3);
    (0..4u64, few(), 0..100usize, run, few()).prop_map(
        |(replica, removes, place, run, removes_later)| Turn {
            replica,
            removes,
            place,
            run,
            removes_later,
        },
    )
}

type Element = (Vec<u8>, (u64, u64));

/// Inserts at an index of a sorted list, with the next number.
fn insert(list: &mut Vec<Element>, index: usize, replica: u64, number: u64) {
    let at = |index: Option<usize>| Some(list.get(index?)?.0.as_slice());
    let position = between(at(index.checked_sub(1)), at(Some(index)), stamp(replica, number))
        .expect("there is room");
    list.insert(index, (position, (replica, number)));
    assert!(list.is_sorted(), "it stands elsewhere");
}

/// Inserts the run of a turn into a list, and returns the elements of the run.
fn insert_run(list: &mut Vec<Element>, turn: &Turn, next: &mut u64) -> BTreeSet<(u64, u64)> {
    let mut run = BTreeSet::new();
    for step in &turn.run {
        let own: Vec<usize> =
            (0..list.len()).filter(|index| run.contains(&list[*index].1)).collect();
        let index = match (own.first(), own.last()) {
            (Some(first), Some(last)) => match step.side {
                0 | 1 => last + 1,
                2 | 3 => *first,
                _ => own[step.at % own.len()] + usize::from(step.side == 4),
            },
            _ => turn.place % (list.len() + 1),
        };
        insert(list, index, turn.replica, *next);
        run.insert((turn.replica, *next));
        *next += 1;
    }
    run
}

fn remove(list: &mut Vec<Element>, which: &[usize]) {
    for index in which {
        if !list.is_empty() {
            list.remove(index % list.len());
        }
    }
}

proptest! {
    #[test]
    fn a_new_position_lies_between_its_neighbours(
        a in any_position(),
        b in any_position(),
        replica in 0..4u64,
        number in 0..5u64,
    ) {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        match between(Some(&low), Some(&high), stamp(replica, number)) {
            Some(position) => prop_assert!(low < position && position < high),
            None => {
                // There is no room only if the neighbours differ by nothing but zeros at the end.
                let zeros = high
                    .strip_prefix(low.as_slice())
                    .is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
                prop_assert!(zeros);
            }
        }
        let above = between(Some(&low), None, stamp(replica, number)).expect("there is room above");
        prop_assert!(above > low);
        if let Some(below) = between(None, Some(&high), stamp(replica, number)) {
            prop_assert!(below < high);
        }
    }

    /// The theorem of decision 15, for lists that begin with positions of another scheme.
    #[test]
    fn concurrent_runs_do_not_interleave(
        begin in prop::collection::btree_set(prop::collection::vec(1..=255u8, 1..5), 0..4),
        rounds in prop::collection::vec(prop::collection::vec(turn(), 1..5), 1..5),
    ) {
        let mut list: Vec<Element> = begin
            .into_iter()
            .enumerate()
            .map(|(index, position)| (position, (99, index as u64)))
            .collect();
        let mut next = 1;
        for round in rounds {
            let mut copies = vec![list.clone(); 4];
            let mut runs = Vec::new();
            for turn in &round {
                // Each replica has its own numbers. That the numbers also differ between replicas
                // does not affect the result.
                let copy = &mut copies[turn.replica as usize];
                remove(copy, &turn.removes);
                runs.push(insert_run(copy, turn, &mut next));
                remove(copy, &turn.removes_later);
            }
            let kept = |element: &Element| copies.iter().all(|copy| copy.contains(element));
            let mut merged: Vec<Element> =
                list.iter().filter(|element| kept(element)).cloned().collect();
            for copy in &copies {
                merged.extend(copy.iter().filter(|element| !list.contains(element)).cloned());
            }
            merged.sort();
            for run in runs {
                let of_run: Vec<usize> =
                    (0..merged.len()).filter(|index| run.contains(&merged[*index].1)).collect();
                let (Some(first), Some(last)) = (of_run.first(), of_run.last()) else { continue };
                let replica = merged[*first].1.0;
                let alone = merged[*first..=*last].iter().all(|(_, (by, number))| {
                    *by == replica && run.range((*by, 0)..).next() <= Some(&(*by, *number))
                });
                prop_assert!(alone, "{:?} lies scattered in {:?}", run, merged);
            }
            list = merged;
        }
    }
}

#[test]
fn a_run_of_one_replica_grows_by_the_logarithm() {
    for backwards in [false, true] {
        let mut last = Vec::new();
        let mut longest = 0;
        for number in 1..100_000 {
            let (low, high) = if backwards {
                (None, Some(last.as_slice()))
            } else {
                (Some(last.as_slice()), None)
            };
            let position = between(low, high.filter(|high| !high.is_empty()), stamp(7, number))
                .expect("there is room");
            assert!(last.is_empty() || (position < last) == backwards);
            longest = longest.max(position.len());
            last = position;
        }
        assert_eq!(longest, 14);
    }
}

#[test]
fn positions_of_alternating_replicas_stay_short() {
    let mut list: Vec<Element> = Vec::new();
    insert(&mut list, 0, 1, 1);
    insert(&mut list, 1, 1, 2);
    for number in 3..1_000 {
        // At the end, at the start, and each after the previous one in the middle.
        let end = list.len();
        insert(&mut list, end, number % 3, 3 * number);
        insert(&mut list, 0, number % 3, 3 * number + 1);
        let before_last = list.iter().position(|(_, id)| *id == (1, 2)).expect("it is there");
        insert(&mut list, before_last, number % 3, 3 * number + 2);
    }
    assert!(
        list.iter().all(|(position, _)| position.len() <= 30),
        "{:?}",
        list.iter().map(|(position, _)| position.len()).max()
    );
}

#[test]
fn insertions_anywhere_grow_by_the_logarithm() {
    let mut list: Vec<Element> = Vec::new();
    for number in 0..10_000u64 {
        let place = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let index = place as usize % (list.len() + 1);
        let at = |index: Option<usize>| Some(list.get(index?)?.0.as_slice());
        let position = between(at(index.checked_sub(1)), at(Some(index)), stamp(place % 3, number))
            .expect("there is room");
        list.insert(index, (position, (place % 3, number)));
    }
    let bytes: usize = list.iter().map(|(position, _)| position.len()).sum();
    assert!(bytes / list.len() < 120, "{} bytes each", bytes / list.len());
}
