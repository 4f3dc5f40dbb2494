//! Promise: a few untrusted bytes that would cost a backend seconds, gigabytes or the process are
//! refused at once, and the store is unharmed.

#![allow(clippy::disallowed_methods, reason = "a bomb that goes off takes seconds")]

#[path = "support/bytes.rs"]
mod bytes;
mod support;

use std::time::{Duration, Instant};
use support::one_update::OneUpdate;

use bytes::{at_root, change, chunk, deflate, document, int, prefixed, uint, update};
use exostate::{Automerge, Backend, Limits, Options, Pending, Store, Yrs};
use support::Everything;

/// A limit that only a hang exceeds: the check takes far less. The fastest of several runs counts,
/// because the machine may be busy.
const TIME_MAX: Duration = Duration::from_millis(50);
const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// Asserts that `refuse` returns an error, in little time and with little memory.
fn bounded<E>(mut refuse: impl FnMut() -> Result<(), E>) {
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        let memory = allocation_counter::measure(|| assert!(refuse().is_err(), "a bomb was taken"));
        fastest = fastest.min(started.elapsed());
        assert!(memory.bytes_max < MEMORY_BYTES_MAX, "{} bytes of memory", memory.bytes_max);
    }
    assert!(fastest < TIME_MAX, "it took {fastest:?}");
}

/// The bytes are refused as an update and as a document, and the store is unharmed and usable.
fn refused<B: Backend>(bytes: &[u8]) {
    let store = support::store::<B>(1);
    store.change(|state| state.title().set("before")).expect("it can be written");
    let view = store.view();
    let digest = store.digest();
    let version = store.version();
    bounded(|| store.apply(bytes).map(drop));
    bounded(|| {
        Store::<Everything, B>::open_with(
            bytes,
            Options::new().with_trusted_limits(Limits::untrusted()),
        )
        .map(drop)
    });
    assert_eq!(
        (store.view(), store.digest(), store.version(), store.pending()),
        (view, digest, version, Pending::default())
    );
    store.change(|state| state.title().set("after")).expect("the store is usable");
    support::check_view(&store);
}

/// One block by replica 40 in the list `L:x`.
fn in_a_list(kind: u8, content: &[u8]) -> Vec<u8> {
    update(&[(40, 0, vec![at_root(kind, "L:x", content)])], &[])
}

#[test]
fn nested_values_do_not_overflow_the_stack() {
    // 14 KB: one value of 7,000 lists, or of as many maps, inside one another.
    refused::<Yrs>(&in_a_list(8, &[vec![1], [0x75, 1].repeat(7_000), vec![0x7e]].concat()));
    refused::<Yrs>(&in_a_list(
        8,
        &[vec![1], [0x76, 1, 1, b'k'].repeat(7_000), vec![0x7e]].concat(),
    ));
}

#[test]
fn nested_json_does_not_overflow_the_stack() {
    let json = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    refused::<Yrs>(&in_a_list(5, &prefixed(json.as_bytes())));
    refused::<Yrs>(&in_a_list(6, &[prefixed(b"mark"), prefixed(json.as_bytes())].concat()));
}

#[test]
fn nested_types_are_not_taken() {
    // Each type is inside the previous one: deleting the outermost would recurse.
    let inner = |clock: u64| [vec![7, 0], uint(40), uint(clock), vec![0]].concat();
    let blocks = [at_root(7, "L:x", &[0])].into_iter().chain((0..20_000).map(inner)).collect();
    refused::<Yrs>(&update(&[(40, 0, blocks)], &[]));
}

#[test]
fn a_claimed_count_allocates_nothing() {
    // The update claims 2^28 clients, blocks, values, texts, deleted ranges or bytes, and does not
    // contain them.
    let many = [0xff, 0xff, 0xff, 0x7f];
    refused::<Yrs>(&[&many[..], &[0]].concat());
    refused::<Yrs>(&[&[1][..], &many, &[40, 0]].concat());
    refused::<Yrs>(&[&[0, 1, 40][..], &many].concat());
    for kind in [2, 3, 4, 5, 8] {
        refused::<Yrs>(&in_a_list(kind, &many));
    }
    for container in [0x74, 0x75, 0x76, 0x77] {
        refused::<Yrs>(&in_a_list(8, &[&[1, container][..], &many].concat()));
    }
    let count = uint(1 << 40);
    refused::<Automerge>(&chunk(1, &count));
    refused::<Automerge>(&chunk(1, &[vec![0], count.clone()].concat()));
    refused::<Automerge>(&chunk(0, &count));
    let columns = change(&[]);
    refused::<Automerge>(&chunk(1, &[&columns[..columns.len() - 1], &count].concat()));
}

#[test]
fn version_2_of_the_encoding_is_refused() {
    refused::<Yrs>(&[0; 13]);
}

#[test]
fn deleted_ranges_that_overflow_are_refused() {
    refused::<Yrs>(&update(&[], &[(2, vec![(u64::from(u32::MAX), u64::from(u32::MAX))])]));
}

#[test]
fn a_deflated_change_is_not_inflated_beyond_the_limit() {
    // 128 MiB of zeros in 128 KiB or so, with the right checksum.
    let bomb = chunk(2, &deflate(&vec![0; 128 << 20]));
    assert!(bomb.len() < 1 << 20);
    refused::<Automerge>(&bomb);
}

#[test]
fn deflated_columns_share_one_limit() {
    // Each column is within the limit, but all together are not: 128 columns of raw values with 1
    // MiB each.
    let column = deflate(&vec![0; 1 << 20]);
    let ops: Vec<_> = (0..128).map(|number| (number << 4 | 0x0f, column.clone())).collect();
    refused::<Automerge>(&chunk(0, &document(&[], &ops)));
    let one = deflate(&vec![0; 128 << 20]);
    refused::<Automerge>(&chunk(0, &document(&[], &[(0x5f, one.clone())])));
    refused::<Automerge>(&chunk(0, &document(&[(0x5f, one)], &[])));
}

#[test]
fn runs_of_rows_are_counted_and_not_unrolled() {
    const ROWS: i64 = 1 << 40;
    let run = |value: Vec<u8>| [int(ROWS), value].concat();
    let columns = [
        (0x42, run(uint(1))),
        (0x01, run(uint(0))),
        (0x13, run(int(1))),
        (0x56, run(uint(0))),
        (0x70, run(uint(1))),
        (0x15, run(prefixed(b"key"))),
        // Nulls, and one run of equal boolean values.
        (0x42, [int(0), uint(ROWS as u64)].concat()),
        (0x34, uint(ROWS as u64)),
        // Many runs, each of them small.
        (0x42, [int(400_000), uint(1)].concat().repeat(1_000)),
    ];
    for column in columns {
        refused::<Automerge>(&chunk(1, &change(std::slice::from_ref(&column))));
        refused::<Automerge>(&chunk(2, &deflate(&change(std::slice::from_ref(&column)))));
        refused::<Automerge>(&chunk(0, &document(&[], std::slice::from_ref(&column))));
        refused::<Automerge>(&chunk(0, &document(&[column], &[])));
    }
}

#[test]
fn a_repeated_string_counts_as_often_as_it_is_repeated() {
    // 400 MB of keys in 4 KB.
    let keys = [int(100_000), prefixed(&[b'k'; 4_000])].concat();
    refused::<Automerge>(&chunk(1, &change(&[(0x15, keys)])));
}

#[test]
fn twenty_thousand_updates_behind_a_missing_one_are_cheap() {
    fn run<B: Backend>(updates: impl Iterator<Item = Vec<u8>>) {
        let store = support::store::<B>(1);
        let before = (store.view(), store.digest(), store.version());
        let updates: Vec<_> = updates.collect();
        let memory = allocation_counter::measure(|| {
            updates.iter().for_each(|update| drop(store.apply(update)))
        });
        assert!(memory.bytes_max < MEMORY_BYTES_MAX, "{} bytes of memory", memory.bytes_max);
        let limits = Limits::untrusted();
        assert!(
            store.pending().updates <= limits.pending_updates_max()
                && store.pending().bytes <= limits.pending_bytes_max()
        );
        assert_eq!((store.view(), store.digest(), store.version()), before);
        // Pending updates are not part of a saved document.
        assert!(store.save().len() < 4_096, "{} bytes saved", store.save().len());
        store.change(|state| state.title().set("after")).expect("the store is usable");
        support::check_view(&store);
    }
    let value = [1, 0x7e];
    run::<Yrs>(
        (1..=20_000).map(|clock| update(&[(40, clock, vec![at_root(8, "L:x", &value)])], &[])),
    );
    // Within one update: the blocks after a gap are pending.
    run::<Yrs>((1..=20_000).map(|len| {
        let hole = [vec![10], uint(len)].concat();
        update(&[(40, 0, vec![at_root(8, "L:x", &value), hole, at_root(8, "L:x", &value)])], &[])
    }));
    // A dependency that no replica has.
    run::<Automerge>((0..20_000u64).map(|number| {
        let missing = [&number.to_be_bytes()[..], &[7; 24]].concat();
        chunk(1, &[vec![1], missing, change(&[]).split_off(1)].concat())
    }));
}

/// One op each by `count` replicas, whose ids are multiples of `step`.
fn by_many(from: u64, count: u64, step: u64) -> Vec<u8> {
    let gone = |id: u64| (id * step, 0, vec![vec![0, 1]]);
    update(&(from..from + count).rev().map(gone).collect::<Vec<_>>(), &[])
}

#[test]
fn ids_that_collide_are_not_taken() {
    // All in one update, then in one update after the other.
    refused::<Yrs>(&by_many(1, 1_000, 1 << 18));
    let store = support::store::<Yrs>(1);
    let taken = (1..1_000).take_while(|id| store.apply(&by_many(*id, 1, 1 << 18)).is_ok()).count();
    assert_eq!(taken, 64);
    assert!(store.apply(&by_many(1, 8_000, 1)).is_ok(), "others are as welcome as before");
    support::check_view(&store);
}

#[test]
fn a_version_of_colliding_ids_is_answered_in_no_time() {
    let store = support::store::<Yrs>(1);
    store.change(|state| state.title().set("here")).expect("it can be written");
    let clocks = (1..170_000u64)
        .flat_map(|id| [(id << 18).to_le_bytes().to_vec(), 1u32.to_le_bytes().to_vec()].concat());
    let bytes: Vec<u8> = [vec![0], 169_999u32.to_le_bytes().to_vec()]
        .concat()
        .into_iter()
        .chain(clocks)
        .chain([0; 16])
        .collect();
    let version = exostate::Version::from_bytes(&bytes).expect("a version");
    bounded(|| store.updates_since(&version).map_or(Ok(()), Err));
}

/// As many replicas write as the version has room for, and then one more.
fn takes_so_many<B: Backend>(bytes_each: usize) {
    let limits = || Limits::untrusted().with_version_bytes_max(5 * bytes_each);
    let store = Store::<Everything, B>::with_options(Options::new().with_limits(limits()));
    let mut title = String::new();
    for number in 0..5 {
        let writer = Store::<Everything, B>::open(&store.save()).expect("a document");
        title = format!("by {number}");
        writer.change(|state| state.title().set(title.as_str())).expect("it can be written");
        store
            .apply_all(&writer.updates_since(&store.version()).expect("a version"))
            .expect("there is room");
    }
    let late = Store::<Everything, B>::open(&store.save()).expect("a document");
    late.change(|state| state.title().set("too late")).expect("it can be written");
    let refusal = store
        .apply_all(&late.updates_since(&store.version()).expect("a version"))
        .expect_err("it is one too many");
    assert!(refusal.to_string().contains("the version would be too long"), "{refusal}");
    assert_eq!(store.view().title, title);
    store
        .apply_trusted(&late.update_since(&store.version()).expect("a version"))
        .expect("one's own is not refused");
    assert_eq!(store.view().title, "too late");
}

#[test]
fn a_version_grows_to_its_limit() {
    takes_so_many::<Yrs>(8 + 4);
    // The replica that made the first change counts too.
    takes_so_many::<Automerge>(6 * (2 + 8 + 8) / 5 + 1);
}
