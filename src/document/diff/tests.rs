use proptest::prelude::*;

use super::*;

/// Applies the edits one after the other, as callers do. Returns how many elements they delete and
/// insert.
fn patched<T: Clone + Eq + Hash + std::fmt::Debug>(old: &[T], new: &[T]) -> (usize, usize) {
    let mut result = old.to_vec();
    let mut gone = 0;
    let mut come = 0;
    slices(old, new, |at, delete, insert| {
        assert!(delete > 0 || !insert.is_empty());
        (gone, come) = (gone + delete, come + insert.len());
        result.splice(at..at + delete, new[insert].iter().cloned());
    });
    assert!(result == new, "the edits give something else");
    (gone, come)
}

/// The fewest deletions and insertions, by the textbook algorithm. O(product of the lengths).
fn least<T: Eq>(old: &[T], new: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=new.len()).collect();
    for (index, element) in old.iter().enumerate() {
        let mut corner = index;
        row[0] = index + 1;
        for at in 0..new.len() {
            let kept = if *element == new[at] { corner } else { usize::MAX };
            corner = row[at + 1];
            row[at + 1] = kept.min(row[at].min(row[at + 1]) + 1);
        }
    }
    row[new.len()]
}

/// Pseudorandom numbers from a seed.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    }
}

fn noise(seed: u64, letters: usize, len: usize) -> Vec<u8> {
    let mut next = random(seed);
    (0..len).map(|_| next(letters) as u8).collect()
}

/// Makes small edits at different places. Returns how many elements they delete and insert.
fn edited(value: &mut Vec<u8>, seed: u64, edits: usize) -> usize {
    let mut next = random(seed);
    let mut changed = 0;
    for _ in 0..edits {
        let at = next(value.len());
        let delete = next(4).min(value.len() - at);
        let insert = next(4);
        let inserted: Vec<u8> = (0..insert).map(|_| next(26) as u8).collect();
        value.splice(at..at + delete, inserted);
        changed += delete + insert;
    }
    changed
}

/// The number of comparisons of the search.
fn work(old: &[u8], new: &[u8]) -> usize {
    let (old, new) = numbered(old, new);
    let mut middle = Middle::new(&old, &new);
    middle.compare();
    middle.search.work()
}

proptest! {
    #[test]
    fn small_sequences_get_the_least_edits(old in "[a-c]{0,30}", new in "[a-c]{0,30}") {
        let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
        let (gone, come) = patched(&old, &new);
        prop_assert_eq!(gone + come, least(&old, &new));
    }

    #[test]
    fn a_search_that_stops_early_still_gives_valid_edits(
        old in "[a-d]{1,60}",
        new in "[a-d]{1,60}",
        edits_max in 1usize..6,
        tried in 1usize..3,
    ) {
        let old = old.into_bytes();
        let new = new.into_bytes();
        let (old, new) = numbered(&old, &new);
        let mut middle = Middle { edits_max, ..Middle::new(&old, &new) };
        let mut pieces = Vec::new();
        let mut equal = Vec::new();
        pieces.push(Piece::Compare { old: 0..old.len(), new: 0..new.len(), tried: Some(tried) });
        while let Some(piece) = pieces.pop() {
            match piece {
                Piece::Equal(stretch) => push(&mut equal, stretch),
                Piece::Compare { old, new, tried } => middle.cut(old, new, tried, &mut pieces),
            }
        }
        let mut old_end = 0;
        let mut new_end = 0;
        for Equal { old: at, new: to, len } in equal {
            prop_assert!(at >= old_end && to >= new_end && old[at..at + len] == new[to..to + len]);
            (old_end, new_end) = (at + len, to + len);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn small_edits_of_a_large_value_stay_small(
        seed in any::<u64>(),
        edits in 1usize..200,
        letters in 1usize..30,
    ) {
        let old = noise(seed, letters, 30_000);
        let mut new = old.clone();
        let changed = edited(&mut new, seed ^ 7, edits);
        let (gone, come) = patched(&old, &new);
        prop_assert!(gone + come <= changed, "{} for {changed}", gone + come);
    }
}

#[test]
fn many_scattered_edits_give_a_diff_of_similar_size() {
    let old = noise(3, 26, 60_000);
    let mut new = old.clone();
    let changed = edited(&mut new, 4, 6_000);
    let (gone, come) = patched(&old, &new);
    assert!(gone + come <= changed + changed / 10, "{} for {changed}", gone + come);
}

#[test]
fn text_pasted_near_both_ends_leaves_the_middle_unchanged() {
    let mut old = noise(5, 20, 20_000);
    let large = noise(6, 20, 20_000);
    let mut new = old.clone();
    new.splice(3_000..3_000, large.clone());
    new.splice(36_000..36_000, large.iter().rev().copied());
    assert_eq!(patched(&old, &new), (0, 40_000));
    assert_eq!(patched(&new, &old), (40_000, 0));
    old.splice(10_000..10_003, [30, 31, 32]);
    let (gone, come) = patched(&old, &new);
    assert!(gone <= 10 && come <= 40_010, "{gone} and {come}");
}

#[test]
fn repetitive_sequences_get_small_edits() {
    for unit in ["a", "ab", "abcabcabd"] {
        let old: Vec<u8> = unit.bytes().cycle().take(50_000).collect();
        let mut new = old.clone();
        let changed = edited(&mut new, 9, 300);
        let (gone, come) = patched(&old, &new);
        assert!(gone + come <= changed, "{} for {changed}", gone + come);
        assert_eq!(patched(&old, &old[..20_000]), (30_000, 0));
        assert_eq!(patched(&old[..20_000], &old), (0, 30_000));
    }
}

#[test]
fn a_rotated_list_keeps_its_longer_part() {
    let old: Vec<u32> = (0..20_000).collect();
    let new: Vec<u32> = (12_000..20_000).chain(0..12_000).collect();
    assert_eq!(patched(&old, &new), (8_000, 8_000));
    let reversed: Vec<u32> = old.iter().rev().copied().collect();
    patched(&old, &reversed);
}

/// For two unrelated values, the comparison stays within the allowed cost.
#[test]
fn the_number_of_comparisons_is_bounded() {
    let a_and_b = |len: usize| (0..len).map(|at| u8::from(at % 2 == 0)).collect::<Vec<u8>>();
    let cases = [
        (noise(1, 26, 8_000), noise(2, 26, 8_000)),
        (noise(1, 26, 40_000), noise(2, 26, 20_000)),
        (vec![1; 10_000], a_and_b(20_000)),
        (a_and_b(10_000), noise(2, 2, 10_000)),
    ];
    for (old, new) in cases {
        let length = old.len() + new.len();
        let done = work(&old, &new);
        let most = 4 * WORK_MAX + (4 * EDITS_MIN + 2 * EXACT_WORK) * length;
        assert!(done <= most, "{done} comparisons of {length} elements, {most} are allowed");
        patched(&old, &new);
    }
}
