//! The memory of an open board, and the memory of old views that are held while the board changes.
//!
//! `resident` is a board opened from its bytes. `resident_built` is a board that wrote the cards
//! itself. `resident_backend` is the same bytes opened with the backend alone, for a system with a
//! view on top of a backend.

use std::any::Any;

use anyhow::Result;

use super::progress;
use crate::allocation::megabytes_kept;
use crate::options::Options;
use crate::peers::{Board, System};
use crate::report::{Place, Report};
use crate::work::cards::{BoardWork, Edit};

/// The number of old views that are held. Each change adds one.
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

/// Opens a board and measures its memory. The bytes that it was opened from do not count.
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

/// Makes the same changes twice: once without old views, and once while the view before each change
/// is held. The difference is the memory of the old views. The memory of one whole view is reported
/// for comparison.
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

/// Makes the changes. Returns the view before each of them if `hold` is true.
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
