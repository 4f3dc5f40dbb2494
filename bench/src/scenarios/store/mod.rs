//! The operations of a state library, on a board of 10,000 cards: watchers, selectors, undo,
//! batches and opening. One change is compared with reactive_stores.
//!
//! All figures are medians in µs. Lanes that are compared take turns, so that a slow moment of the
//! machine affects both. Every turn checks its result: the contents of the cards, and that each
//! subscriber was called as often as it must be.
//!
//! - `change`: one field of a random card changes. There is one subscriber on all cards. The bytes
//!   of the update are made, if the system has updates.
//! - `single_1000`, `batch_1000`: a thousand such changes one by one, and as one. `…_one`: the
//!   same, but all on one field of one card. `…_selected`: the same on random cards, while a
//!   watched selector computes a value from all cards.
//! - `open`: opens a document of 100,000 ops from its bytes. `view_at`: the state at a checkpoint
//!   of its history.
//! - `watchers_1`, `watchers_10000`: one field changes, and its watcher is called. It is the only
//!   watcher, or one of 10,000 on as many fields.
//! - `select_0`, `select_1000`: one field changes without selectors, and with 1,000 watched
//!   selectors. Only one of those reads the field.
//! - `change_100000`, `undo`: a change in the document of 100,000 ops, and an undo of one of its
//!   last 250 changes.

mod boards;
mod reactive;
mod tools;

use std::rc::Rc;

use anyhow::Result;
use exostate::{Automerge, Yrs};

use super::progress;
use crate::measure::Samples;
use crate::options::Options;
use crate::peers::System;
use crate::report::{Place, Report};
use crate::work::cards::BoardWork;
use boards::Saved;

/// The number of turns of each lane.
const TURNS: usize = 15;

/// The number of turns if a turn computes a value from all cards a thousand times.
const TURNS_SELECTED: usize = 5;

/// The number of steps at the start of a turn that are not timed, because the caches hold another
/// lane's data.
const WARM_UP: usize = 50;

/// The number of timed steps in a turn, and the number of changes in a batch.
const STEPS: usize = 250;
const BATCH: usize = 1_000;

/// The wanted ratios: metric, base metric, and the largest wanted ratio of the two in one system.
const WANTED: [(&str, &str, f64); 7] = [
    ("watchers_10000", "watchers_1", 2.0),
    ("select_1000", "select_0", 3.0),
    ("undo", "change_100000", 2.0),
    ("view_at", "open", 1.2),
    ("batch_1000", "single_1000", 1.0 / 3.0),
    ("batch_1000_one", "single_1000_one", 1.0 / 3.0),
    ("batch_1000_selected", "single_1000_selected", 1.0 / 3.0),
];

/// The largest wanted cost of a change, relative to reactive_stores. exostate also replicates the
/// change and makes its bytes.
const CHANGE_WANTED: f64 = 10.0;

/// The sizes of the inputs.
#[derive(Debug, Clone, Copy)]
struct Size {
    cards: usize,
    selectors: usize,
    ops: usize,
    turns: usize,
}

impl Size {
    fn new(options: &Options) -> Self {
        let full = Self { cards: 10_000, selectors: 1_000, ops: 100_000, turns: TURNS };
        if options.quick { Self { cards: 500, selectors: 50, ops: 3_000, turns: 1 } } else { full }
    }

    /// The same inputs for all systems.
    fn work(self) -> Rc<BoardWork> {
        // A card is a marker and four fields. One of the fields may hold its default and need no
        // op.
        let changes = self.ops.saturating_sub(4 * self.cards);
        Rc::new(BoardWork::new(self.cards, changes.max(self.turns * BATCH.max(WARM_UP + STEPS))))
    }
}

/// Times a step, unless it is one of the first of a turn.
fn timed_when_warm<T>(
    step: usize,
    samples: &mut Samples,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if step < WARM_UP { work() } else { samples.time(work) }
}

/// One measurement, which runs in turns.
struct Lane<'a> {
    place: Place,
    metric: &'static str,
    turn: Turn<'a>,
    samples: Samples,
}

type Turn<'a> = Box<dyn FnMut(&mut Samples) -> Result<()> + 'a>;

impl<'a> Lane<'a> {
    fn new(
        place: Place,
        metric: &'static str,
        turn: impl FnMut(&mut Samples) -> Result<()> + 'a,
    ) -> Self {
        Self { place, metric, turn: Box::new(turn), samples: Samples::default() }
    }
}

/// Measures everything, and compares the figures with the wanted ratios.
pub fn run(options: &Options, systems: &[System], report: &mut Report) -> Result<()> {
    let size = Size::new(options);
    let work = size.work();
    let place = |system| Place { scenario: "store", n: size.cards, system };
    // A system with seconds for one change cannot run a thousand.
    let systems: Vec<&System> = systems
        .iter()
        .filter(|system| system.map.is_some() && system.edits_max.is_none())
        .collect();
    if options.quick {
        report.note(
            place("all"),
            format_args!(
                "quick: {} watchers, {} selectors, {} ops",
                size.cards, size.selectors, size.ops
            ),
        );
    }

    let mut lanes = boards::change(&systems, &work, place, report);
    lanes.extend(kept(
        place("reactive_stores"),
        "change",
        reactive::change(&work, place("reactive_stores")),
        report,
    ));
    take_turns("change", lanes, size.turns, report);
    for (work, metrics) in [
        (&work, ["single_1000", "batch_1000"]),
        (&Rc::new(work.of_one_field()), ["single_1000_one", "batch_1000_one"]),
    ] {
        take_turns(
            metrics[1],
            boards::batches(&systems, work, metrics, place, report),
            size.turns,
            report,
        );
    }

    let saved = boards::save_all(&systems, &work, size, place, report);
    let mut lanes: Vec<Lane<'_>> = saved.iter().map(|saved| saved.open(&work)).collect();
    for Saved { place, bytes, .. } in &saved {
        let view_at = match place.system {
            "exostate-yrs" => tools::view_at::<Yrs>(bytes, &work, *place),
            "exostate-automerge" => tools::view_at::<Automerge>(bytes, &work, *place),
            _ => continue,
        };
        lanes.extend(kept(*place, "view_at", view_at, report));
    }
    take_turns("open", lanes, size.turns, report);
    for saved in &saved {
        match saved.place.system {
            "exostate-yrs" => ours::<Yrs>(saved, &work, size, report),
            "exostate-automerge" => ours::<Automerge>(saved, &work, size, report),
            _ => {}
        }
        compare(saved.place, place("reactive_stores"), report);
    }
    Ok(())
}

/// The lanes that only exostate has.
fn ours<B: exostate::Backend>(
    saved: &Saved,
    work: &Rc<BoardWork>,
    size: Size,
    report: &mut Report,
) {
    let place = saved.place;
    let lanes = kept(place, "watchers", tools::watchers::<B>(work, place), report);
    take_turns("watchers", lanes, size.turns, report);
    let lanes =
        kept(place, "selectors", tools::selectors::<B>(work, place, size.selectors), report);
    take_turns("selectors", lanes, size.turns, report);
    let lanes = kept(place, "batches", tools::batches::<B>(work, place), report);
    take_turns("batches", lanes, size.turns.min(TURNS_SELECTED), report);
    let lanes = kept(place, "undo", tools::undo::<B>(&saved.bytes, work, place), report);
    take_turns("undo", lanes, size.turns, report);
}

/// The lanes, or none if they could not be made.
fn kept<'a>(
    place: Place,
    what: &str,
    lanes: Result<Vec<Lane<'a>>>,
    report: &mut Report,
) -> Vec<Lane<'a>> {
    lanes.unwrap_or_else(|error| {
        report.failed(place, what, &error);
        Vec::new()
    })
}

/// Runs the turns of each lane. A lane that fails is dropped, and the others continue.
fn take_turns(what: &str, mut lanes: Vec<Lane<'_>>, turns: usize, report: &mut Report) {
    for turn in 1..=turns {
        eprintln!("store: {what}, turn {turn} of {turns}");
        lanes.retain_mut(|lane| match (lane.turn)(&mut lane.samples) {
            Ok(()) => true,
            Err(error) => {
                report.failed(lane.place, lane.metric, &error);
                false
            }
        });
    }
    for lane in lanes {
        report.add(lane.place, lane.metric, lane.samples.median(), "µs");
    }
}

/// Prints the ratios of a system's figures, and for exostate the wanted ratios.
fn compare(place: Place, reactive: Place, report: &mut Report) {
    let inside = WANTED.map(|(metric, base, wanted)| (metric, place, base, wanted));
    for (metric, beside, base, wanted) in
        inside.into_iter().chain([("change", reactive, "change", CHANGE_WANTED)])
    {
        let (Some(figure), Some(base_figure)) =
            (report.figure(place, metric), report.figure(beside, base))
        else {
            continue;
        };
        let base = if beside.system == place.system {
            base.to_owned()
        } else {
            format!("{base} of {}", beside.system)
        };
        let wanted = if place.system.starts_with("exostate") {
            format!(" (wanted: at most {wanted:.2})")
        } else {
            String::new()
        };
        report.note(
            place,
            format_args!("{metric} is {:.2} times {base}{wanted}", figure / base_figure),
        );
    }
}
