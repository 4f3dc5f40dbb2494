//! Operations that every system with a map of cards has: one change, a batch, opening.

use std::rc::Rc;

use anyhow::{Context, Result, ensure};

use super::{BATCH, Lane, STEPS, Size, WARM_UP, progress, timed_when_warm};
use crate::peers::{Board, Boards, System};
use crate::report::{Place, Report};
use crate::work::cards::BoardWork;

/// The number of touched cards that are compared after a turn.
const CARDS_COMPARED: usize = 50;

/// One change after the other, with a subscriber.
pub fn change(
    systems: &[&System],
    work: &Rc<BoardWork>,
    place: impl Fn(&'static str) -> Place,
    report: &mut Report,
) -> Vec<Lane<'static>> {
    let lane = |system: &System, boards: Boards| {
        let mut board = build(boards, work)?;
        let work = Rc::clone(work);
        let mut done = 0;
        Ok(vec![Lane::new(place(system.name), "change", move |samples| {
            for (step, edit) in work.edits[done..done + WARM_UP + STEPS].iter().enumerate() {
                let update = timed_when_warm(step, samples, || board.local(edit))?;
                ensure!(!update.is_empty(), "a change made no update");
            }
            done += WARM_UP + STEPS;
            check(board.as_ref(), &work, done)
        })])
    };
    each(systems, "change", &place, report, lane)
}

/// A thousand changes one by one, and as one transaction, each on a board of its own.
pub fn batches(
    systems: &[&System],
    work: &Rc<BoardWork>,
    [single, batch]: [&'static str; 2],
    place: impl Fn(&'static str) -> Place,
    report: &mut Report,
) -> Vec<Lane<'static>> {
    let lanes = |system: &System, boards: Boards| {
        let mut board = build(boards, work)?;
        let edits = Rc::clone(work);
        let mut done = 0;
        let one_by_one = Lane::new(place(system.name), single, move |samples| {
            let round = &edits.edits[done..done + BATCH];
            samples.time(|| round.iter().try_for_each(|edit| board.local(edit).map(drop)))?;
            done += BATCH;
            check(board.as_ref(), &edits, done)
        });
        let mut board = build(boards, work)?;
        let edits = Rc::clone(work);
        let mut done = 0;
        let as_one = Lane::new(place(system.name), batch, move |samples| {
            let round = &edits.edits[done..done + BATCH];
            samples.time(|| board.local_batch(round).context("it has no batches")?)?;
            done += BATCH;
            check(board.as_ref(), &edits, done)
        });
        Ok(vec![one_by_one, as_one])
    };
    each(systems, "batches", &place, report, lanes)
}

/// A document of many ops, saved.
pub struct Saved {
    /// Its system and size.
    pub place: Place,
    /// The document.
    pub bytes: Vec<u8>,
    boards: Boards,
    /// The number of the work's edits in it.
    edits: usize,
}

impl Saved {
    fn new(place: Place, boards: Boards, work: &BoardWork, size: Size) -> Result<Self> {
        let mut board = (boards.build)(&work.cards)?;
        let edits = size.ops.saturating_sub(4 * size.cards);
        for edit in &work.edits[..edits] {
            board.local(edit)?;
        }
        Ok(Self { place, bytes: board.save()?, boards, edits })
    }

    /// Opens the document, adds the watchers and reads a card.
    pub fn open(&self, work: &Rc<BoardWork>) -> Lane<'_> {
        let (index, expected) = match work.cards_after(self.edits).pop_first() {
            Some((index, card)) => (index, card),
            None => (0, work.cards[0].clone()),
        };
        Lane::new(self.place, "open", move |samples| {
            let (board, found) = samples.time(|| {
                let board = (self.boards.open)(&self.bytes)?;
                let found = board.card(index, &expected.id)?;
                Ok((board, found))
            })?;
            ensure!(found == expected, "card {index} is {found:?}, expected {expected:?}");
            drop(board);
            Ok(())
        })
    }
}

/// A saved document of many ops for every system.
pub fn save_all(
    systems: &[&System],
    work: &BoardWork,
    size: Size,
    place: impl Fn(&'static str) -> Place,
    report: &mut Report,
) -> Vec<Saved> {
    each(systems, "building", &place, report, |system, boards| {
        Ok(vec![Saved::new(place(system.name), boards, work, size)?])
    })
}

/// Collects the results of all systems. Leaves out a system that fails.
fn each<T>(
    systems: &[&System],
    what: &str,
    place: &impl Fn(&'static str) -> Place,
    report: &mut Report,
    make: impl Fn(&System, Boards) -> Result<Vec<T>>,
) -> Vec<T> {
    let mut made = Vec::new();
    for system in systems {
        let Some(boards) = system.map else { continue };
        let place = place(system.name);
        progress("store", place.n, &format!("{} ({what})", system.name));
        match make(system, boards) {
            Ok(some) => made.extend(some),
            Err(error) => report.failed(place, what, &error),
        }
    }
    made
}

fn build(boards: Boards, work: &BoardWork) -> Result<Box<dyn Board>> {
    let mut board = (boards.build)(&work.cards)?;
    board.subscribe();
    Ok(board)
}

/// Checks that the edited cards have the right contents.
fn check(board: &dyn Board, work: &BoardWork, done: usize) -> Result<()> {
    for (index, expected) in work.cards_after(done).into_iter().take(CARDS_COMPARED) {
        let found = board.card(index, &expected.id)?;
        ensure!(found == expected, "card {index} is {found:?}, expected {expected:?}");
    }
    Ok(())
}
