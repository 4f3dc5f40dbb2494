//! What an open board keeps in memory, and what it costs to hold on to old views while it changes.
//!
//! `resident` is a board opened from its bytes, `resident_built` one that wrote them,
//! `resident_backend` the bytes opened by the backend alone, where a system has a view on top of
//! one.

use std::any::Any;

use anyhow::Result;

use super::progress;
use crate::allocation::megabytes_kept;
use crate::options::Options;
use crate::peers::{Board, System};
use crate::report::{Place, Report};
use crate::work::cards::{BoardWork, Edit};

/// How many old views are held, one a change.
const VIEWS: usize = 1_000;

/// Measures every system that keeps a map of cards, at every size.
pub fn run(options: &Options, systems: &[System], report: &mut Report) -> Result<()> {
    for &n in &options.sizes {
        let work = BoardWork::new(n, 2 * VIEWS);
        for system in systems {
            progress("memory", n, system.name);
            if let Err(error) = measure(system, &work, n, report) {
                report.failed(
                    Place { scenario: "memory", n, system: system.name },
                    "memory",
                    &error,
                );
            }
        }
    }
    Ok(())
}

/// Opens a board and weighs it; the bytes that it was opened from do not count.
fn measure(system: &System, work: &BoardWork, n: usize, report: &mut Report) -> Result<()> {
    let Some(boards) = system.map else {
        return Ok(());
    };
    let place = Place { scenario: "memory", n, system: system.name };
    let (built, resident_built) = megabytes_kept(|| (boards.build)(&work.cards));
    let saved = built?.save()?;
    let (opened, resident) = megabytes_kept(|| -> Result<_> {
        let board = (boards.open)(&saved)?;
        board.card(0, &work.cards[0].id)?;
        Ok(board)
    });
    let mut board = opened?;
    report.add(place, "resident", resident, "MB");
    report.add(place, "resident_built", resident_built, "MB");
    if let Some(open_backend) = system.open_backend {
        let (document, resident_backend) = megabytes_kept(|| open_backend(&saved));
        drop(document?);
        report.add(place, "resident_backend", resident_backend, "MB");
    }
    held_views(board.as_mut(), work, Place { scenario: "view", ..place }, report)
}

/// For a system with views: the same number of changes without and with holding the view before
/// each of them. The difference is what the old views cost; one whole view beside it says whether
/// that is much.
fn held_views(
    board: &mut dyn Board,
    work: &BoardWork,
    place: Place,
    report: &mut Report,
) -> Result<()> {
    let (Some(fresh), megabytes_one) = megabytes_kept(|| board.fresh_view()) else {
        return Ok(());
    };
    drop(fresh);
    let (plain, holding) = work.edits.split_at(VIEWS);
    let (changed, megabytes_plain) = megabytes_kept(|| change_all(board, plain, false));
    changed?;
    let (views, megabytes_holding) = megabytes_kept(|| change_all(board, holding, true));
    report.add(place, "one", megabytes_one, "MB");
    report.add(place, "held_1000", megabytes_holding - megabytes_plain, "MB");
    report.note(place, format_args!("{} old views were held", views?.len()));
    Ok(())
}

/// Makes the changes; returns the view before each of them, if they are to be held.
fn change_all(board: &mut dyn Board, edits: &[Edit], hold: bool) -> Result<Vec<Box<dyn Any>>> {
    let mut views = Vec::new();
    for edit in edits {
        if hold {
            views.extend(board.view());
        }
        board.local(edit)?;
    }
    Ok(views)
}
