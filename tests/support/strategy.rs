//! Strategies for arbitrary edits.
#![allow(dead_code)]

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::{KINDS, Op};

/// 256 cases, or the number in `EXOSTATE_CASES`. A failing test prints how to run the same cases
/// again.
pub fn config() -> Config {
    let cases =
        std::env::var("EXOSTATE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => random(),
    };
    println!("the same cases again: PROPTEST_RNG_SEED={seed} EXOSTATE_CASES={cases}");
    Config { rng_seed: RngSeed::Fixed(seed), ..config }
}

fn random() -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0)
}

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c]{0,4}",
        1 => Just("ä€😀".to_owned()),
        1 => Just("x/y~@".to_owned()),
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    (0..KINDS, any::<u16>(), any::<u16>(), text()).prop_map(|(kind, a, b, text)| Op {
        kind,
        a,
        b,
        text,
    })
}

pub fn ops(max: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 0..max)
}
