//! The steps of a run. All of them are drawn from a seed before the run, so that a failing run can
//! be shortened by leaving steps out.

use fastrand::Rng;
use std::fmt;

/// One step of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// A replica edits. `choice` decides the edit.
    Edit { node: usize, choice: u64 },
    /// Time passes, and frames arrive.
    Pass { ms: u64 },
    /// A connection is cut. It stays cut until `Heal`.
    Cut { link: usize },
    /// A cut connection may connect again.
    Heal { link: usize },
    /// From now on frames are lost, duplicated, changed or delayed. The first three are rates per
    /// thousand.
    Faults { loss: u16, doubling: u16, change: u16, delay_ms: u64 },
    /// A replica is saved.
    Save { node: usize },
    /// A replica stops after saving, and is opened again from its bytes under a fresh id.
    Restart { node: usize },
    /// A replica loses the local edits that it made since it was saved last. It keeps the updates
    /// that it imported. If it has a storage, it loses everything that is not written.
    Crash { node: usize },
    /// A replica is opened again under the id of another one. This breaks the rules of the engine.
    UseTwice { of: usize, node: usize },
}

/// A run.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) automerge: bool,
    pub(crate) nodes: usize,
    pub(crate) links: Vec<(usize, usize)>,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    pub(crate) fn of(seed: u64, steps: usize) -> Self {
        let mut rng = Rng::with_seed(seed);
        let nodes = rng.usize(3..=8);
        let links = links(&mut rng, nodes);
        // Ids are used twice in one run out of eight only: most faults do not need that.
        let use_ids_twice = rng.u8(..8) == 0;
        let steps = (0..steps).map(|_| step(&mut rng, nodes, links.len(), use_ids_twice)).collect();
        Self { seed, automerge: rng.bool(), nodes, links, steps }
    }
}

/// The connections: a star, a ring, a line, or all pairs. The first of each pair is the initiator,
/// the second is the responder.
fn links(rng: &mut Rng, nodes: usize) -> Vec<(usize, usize)> {
    match rng.u8(..4) {
        0 => (1..nodes).map(|node| (node, 0)).collect(),
        1 => (0..nodes).map(|node| (node, (node + 1) % nodes)).collect(),
        2 => (1..nodes).map(|node| (node, node - 1)).collect(),
        _ => (0..nodes).flat_map(|node| (0..node).map(move |other| (node, other))).collect(),
    }
}

fn step(rng: &mut Rng, nodes: usize, links: usize, use_ids_twice: bool) -> Step {
    let node = rng.usize(..nodes);
    match rng.u8(..100) {
        0..50 => Step::Edit { node, choice: rng.u64(..) },
        50..82 => Step::Pass { ms: rng.u64(1..400) },
        82..86 => Step::Cut { link: rng.usize(..links) },
        86..91 => Step::Heal { link: rng.usize(..links) },
        91..94 => faults(rng),
        94..96 => Step::Save { node },
        96..98 => Step::Restart { node },
        98 => Step::Crash { node },
        _ if use_ids_twice => Step::UseTwice { of: rng.usize(..nodes), node },
        _ => Step::Pass { ms: rng.u64(1..10_000) },
    }
}

fn faults(rng: &mut Rng) -> Step {
    match rng.u8(..4) {
        0 => Step::Faults { loss: 0, doubling: 0, change: 0, delay_ms: 1 },
        1 => Step::Faults {
            loss: rng.u16(..200),
            doubling: rng.u16(..200),
            change: 0,
            delay_ms: rng.u64(..200),
        },
        2 => Step::Faults { loss: 0, doubling: 0, change: rng.u16(..100), delay_ms: rng.u64(..20) },
        _ => {
            Step::Faults { loss: 0, doubling: rng.u16(..500), change: 0, delay_ms: rng.u64(..2000) }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend = if self.automerge { "automerge" } else { "yrs" };
        writeln!(
            f,
            "seed {}: {} replicas on {backend}, links {:?}, {} steps",
            self.seed,
            self.nodes,
            self.links,
            self.steps.len()
        )?;
        self.steps.iter().try_for_each(|step| writeln!(f, "    {step:?}"))
    }
}
