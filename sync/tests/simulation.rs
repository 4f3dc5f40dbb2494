//! Replicas on a simulated network with a simulated clock, on both backends. One seed decides
//! everything: edits of every kind, partitions, delay, loss, duplication, reordering, changed
//! bytes, restarts, crashes, and replica ids used twice. In the end all replicas must be equal, and
//! every acknowledged edit must be there. In each third seed the replicas have storages, which write
//! late, and a replica that crashed has exactly what was written.
//!
//! A run that fails prints its seed and the shortest plan that was found to fail. Environment
//! variables:
//!
//! * `EXOSTATE_SIM_SEED=7` runs this seed only;
//! * `EXOSTATE_SIM_SEEDS=2000` runs 2,000 seeds, beginning with `EXOSTATE_SIM_FIRST` (default 0);
//! * `EXOSTATE_SIM_SECONDS=3600` begins no new seed after 3,600 seconds;
//! * `EXOSTATE_SIM_STEPS=300` gives each run 300 steps;
//! * `EXOSTATE_SIM_TRACE=1` prints the `tracing` output of the sessions.

#![allow(
    clippy::disallowed_methods,
    reason = "the test may look at the clock to know when to stop; what is simulated may not"
)]

#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/world.rs"]
mod world;

use exostate::{Automerge, Yrs};
use plan::Plan;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use world::World;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs a plan. Returns the number of repairs, or the reason why the run failed.
fn run(plan: &Plan) -> Result<usize, String> {
    let run =
        || if plan.automerge { World::<Automerge>::run(plan) } else { World::<Yrs>::run(plan) };
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()
    })
}

/// The largest number of shorter plans that `shrink` tries.
const TRIES_MAX: usize = 400;

/// Shortens a failing plan: leaves out halves of the steps, then quarters, and so on, as long as
/// the plan still fails.
fn shrink(mut plan: Plan) -> Plan {
    let mut tries = 0;
    let mut size = plan.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < plan.steps.len() && tries < TRIES_MAX {
            tries += 1;
            let mut shorter = plan.clone();
            shorter.steps.drain(at..(at + size).min(plan.steps.len()));
            match run(&shorter) {
                Err(_) => plan = shorter,
                Ok(_) => at += size,
            }
        }
        size /= 2;
    }
    plan
}

fn fail(plan: Plan, why: &str) -> ! {
    let seed = plan.seed;
    eprintln!("{why}; making the plan shorter");
    std::panic::set_hook(Box::new(|_| {}));
    let shrunk = shrink(plan);
    let why = run(&shrunk).err().unwrap_or_default();
    let _ = std::panic::take_hook();
    panic!("{why}\n{shrunk}run it alone with EXOSTATE_SIM_SEED={seed}");
}

#[test]
fn replicas_are_equal_after_the_last_fault() {
    let steps = setting("EXOSTATE_SIM_STEPS").unwrap_or(300) as usize;
    if let Some(seed) = setting("EXOSTATE_SIM_SEED") {
        let plan = Plan::of(seed, steps);
        return if let Err(why) = run(&plan) {
            fail(plan, &why)
        };
    }
    let first = setting("EXOSTATE_SIM_FIRST").unwrap_or(0);
    let seeds = setting("EXOSTATE_SIM_SEEDS").unwrap_or(32);
    let time = setting("EXOSTATE_SIM_SECONDS").map(Duration::from_secs);
    let next = AtomicU64::new(first);
    let repairs = AtomicUsize::new(0);
    let begun = Instant::now();
    let failed = std::sync::Mutex::new(None);
    let work = || {
        while time.is_none_or(|time| begun.elapsed() < time)
            && failed.lock().expect("no panic").is_none()
        {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= first + seeds {
                return;
            }
            let plan = Plan::of(seed, steps);
            match run(&plan) {
                Ok(count) => drop(repairs.fetch_add(count, Ordering::SeqCst)),
                Err(why) => {
                    eprintln!("seed {seed} fails: {why}");
                    *failed.lock().expect("no panic") = Some((plan, why));
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    if let Some((plan, why)) = failed.into_inner().expect("no panic") {
        fail(plan, &why);
    }
    let ran = next.into_inner().min(first + seeds) - first;
    println!(
        "{ran} seeds from {first} on, of {steps} steps, {} repairs, {:?}",
        repairs.into_inner(),
        begun.elapsed()
    );
}

#[test]
fn formerly_failing_seeds_pass() {
    // The cases, in the order of the seeds:
    // - two neighbours crash, and the edits of each depend on edits of the other;
    // - a document is replaced under the same version;
    // - a pending update depends on an op that every other replica has given up;
    // - a pending update contradicts the document, and the updates that build on it contradict
    //   more.
    for seed in [7_003_715, 9_001_150, 50_001_652, 60_000_197] {
        let plan = Plan::of(seed, 300);
        if let Err(why) = run(&plan) {
            fail(plan, &why);
        }
    }
}

#[test]
fn a_seed_always_gives_the_same_plan() {
    for seed in [1, 2] {
        assert_eq!(Plan::of(seed, 50).steps, Plan::of(seed, 50).steps);
    }
}
