//! Promise: hostile bytes are applied, become pending or are refused, soon and with little memory.
//! Afterwards the store is in order, and a store that refused an update is unchanged.

#[path = "support/bytes.rs"]
mod bytes;
#[path = "support/hostile.rs"]
mod hostile;
mod support;

use std::sync::Once;

use exostate::{
    Applied, Automerge, BackendError, ChangeError, Limits, Options, ReplicaId, Store, Yrs,
};
use fastrand::Rng;
use hostile::Hostile;
use proptest::prelude::*;
use proptest::test_runner::Config;
use support::{Everything, Op, strategy};

/// What one update may cost in memory, in bytes, even if it is applied.
const BYTES_MAX: u64 = 64 << 20;
/// How many hostile updates each case throws at a store.
const UPDATES: usize = 8;

fn options(limits: &Limits) -> Options {
    Options::new().with_replica(ReplicaId::from_bits(1)).with_limits(limits.clone())
}

fn edit<B: Hostile>(rng: &mut Rng, store: &Store<Everything, B>) {
    let text = ["", "a", "bc", "ä€😀", "x/y~@", "abcabc"][rng.usize(..6)].to_owned();
    support::apply(
        store,
        &Op { kind: rng.u8(..support::KINDS), a: rng.u16(..), b: rng.u16(..), text },
    );
}

/// The store under attack, and the updates that honest replicas have sent.
fn scene<B: Hostile>(rng: &mut Rng, limits: &Limits) -> (Store<Everything, B>, Vec<Vec<u8>>) {
    let store = Store::with_options(options(limits));
    let second = support::store::<B>(2);
    let third = support::store::<B>(3);
    for _ in 0..4 + rng.usize(..8) {
        [&store, &second, &third].into_iter().for_each(|store| edit(rng, store));
    }
    for other in [&second, &third] {
        store.merge(other).expect("an honest update");
    }
    let mut honest = Vec::new();
    for _ in 0..3 {
        let before = second.version();
        (0..1 + rng.usize(..4)).for_each(|_| edit(rng, &second));
        honest.extend(B::honest(&second, &before));
        if rng.bool() {
            store.merge(&second).expect("an honest update");
        }
    }
    (store, honest)
}

/// Backends panic on input that they do not expect, and the panic is caught. Printing a location
/// for each panic costs more memory than the panics do.
fn silence_backends() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let file = info.location().map_or("", |location| location.file());
            if !["yrs-", "automerge-", "hexane-"].iter().any(|backend| file.contains(backend)) {
                print(info);
            }
        }));
    });
}

fn run<B: Hostile>(seed: u64, limits: &Limits) {
    silence_backends();
    let mut rng = Rng::with_seed(seed);
    let (store, honest) = scene::<B>(&mut rng, limits);
    let mut consistent = true;
    for round in 0..UPDATES {
        let bytes = B::hostile(&mut rng, &honest);
        let before = (store.view(), store.digest(), store.version());
        let mut applied = None;
        let cost = allocation_counter::measure(|| applied = Some(store.apply(&bytes)));
        assert!(
            cost.bytes_max < BYTES_MAX,
            "{} bytes of memory and {applied:?} for {bytes:02x?}",
            cost.bytes_max
        );
        if matches!(applied, Some(Ok(Applied::Changed))) {
            consistent = B::CONSISTENT;
        }
        if consistent && matches!(applied, Some(Err(_))) {
            assert!(
                (store.view(), store.digest(), store.version()) == before,
                "{applied:?} and yet something is different"
            );
        }
        let change = store.change(|state| {
            state.count().set(round as i64)?;
            state.notes().push_str("😀")?;
            state.numbers().push(round as i64)
        });
        match change {
            Ok(()) => {}
            // On yrs, a hostile block beside a register can make the register unwritable.
            Err(ChangeError::Backend(BackendError::Misfit { .. })) if !B::CONSISTENT => {}
            Err(error) => panic!("the store is not usable: {error}"),
        }
        in_order(&store);
    }
}

/// The view equals the document, and the saved document can be opened.
fn in_order<B: Hostile>(store: &Store<Everything, B>) {
    let opened = Store::<Everything, B>::open(&store.save()).expect("what was saved can be opened");
    support::check_view(&opened);
    if B::CONSISTENT {
        support::check_view(store);
        assert_eq!(opened.digest(), store.digest());
        assert_eq!(opened.version(), store.version());
    }
}

proptest! {
    #![proptest_config(Config { max_shrink_iters: 0, ..strategy::config() })]

    #[test]
    fn on_yrs(seed in any::<u64>()) {
        run::<Yrs>(seed, &Limits::untrusted());
    }

    /// exostate does not write nested types. Here the guard lets them through to the backend.
    #[test]
    fn on_yrs_with_nested_types(seed in any::<u64>()) {
        run::<Yrs>(seed, &Limits::untrusted().with_nested_types_max(100));
    }

    #[test]
    fn on_automerge(seed in any::<u64>()) {
        run::<Automerge>(seed, &Limits::untrusted());
    }
}
