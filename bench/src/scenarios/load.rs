//! The time until saved bytes can be read: a board is opened with its observers, and one card is
//! read.
//!
//! For a system with a view on top of a backend, the backend alone opens the same bytes too
//! (`open_backend`). `text_first_edit` is the first edit of a text of 100 characters in a document
//! with the board, after the document was opened.

use anyhow::{Result, ensure};

use super::progress;
use crate::measure::timed;
use crate::options::Options;
use crate::peers::{Boards, OpenBackend, System};
use crate::report::{Place, Report};
use crate::work::cards::BoardWork;

/// Measures every system that keeps a map of cards, at every size.
pub fn run(options: &Options, systems: &[System], report: &mut Report) -> Result<()> {
    run_as("load", options, systems, report)
}

/// The same under the name of another scenario.
pub fn run_as(
    scenario: &'static str,
    options: &Options,
    systems: &[System],
    report: &mut Report,
) -> Result<()> {
    for &n in &options.sizes {
        let work = BoardWork::new(n, 0);
        let mut saved = Vec::new();
        for system in systems {
            let Some(boards) = system.map else { continue };
            let place = Place { scenario, n, system: system.name };
            progress(scenario, n, &format!("building {}", system.name));
            match Saved::new(boards, system.open_backend, &work, place, report) {
                Ok(board) => saved.push(board),
                Err(error) => report.failed(place, "build", &error),
            }
        }
        for turn in 1..=options.repeats() {
            eprintln!("{scenario} n={n}: turn {turn} of {}", options.repeats());
            saved.retain_mut(|board| match board.open(&work) {
                Ok(()) => true,
                Err(error) => {
                    report.failed(board.place, "open", &error);
                    false
                }
            });
        }
        saved.into_iter().for_each(|board| board.report(report));
        for system in systems {
            let Some(measure) = system.text_first_edit else { continue };
            let place = Place { scenario, n, system: system.name };
            progress(scenario, n, &format!("first edit of a text on {}", system.name));
            match measure(&work.cards) {
                Ok(samples) => report.add(place, "text_first_edit", samples.median(), "µs"),
                Err(error) => report.failed(place, "text_first_edit", &error),
            }
        }
    }
    Ok(())
}

/// A saved board, and the opening times so far.
struct Saved {
    place: Place,
    boards: Boards,
    open_backend: Option<OpenBackend>,
    bytes: Vec<u8>,
    open_ms: Vec<f64>,
    backend_ms: Vec<f64>,
}

impl Saved {
    /// Builds a board and saves it.
    fn new(
        boards: Boards,
        open_backend: Option<OpenBackend>,
        work: &BoardWork,
        place: Place,
        report: &mut Report,
    ) -> Result<Self> {
        let (mut writer, built) = timed(|| (boards.build)(&work.cards))?;
        let bytes = writer.save()?;
        report.add(place, "build", built.as_secs_f64() * 1e3, "ms");
        report.add(place, "saved", bytes.len() as f64 / 1e6, "MB");
        Ok(Self { place, boards, open_backend, bytes, open_ms: Vec::new(), backend_ms: Vec::new() })
    }

    /// Opens the board once and reads a card. Then the backend opens the same bytes.
    fn open(&mut self, work: &BoardWork) -> Result<()> {
        let middle = work.cards.len() / 2;
        let ((board, card), took) = timed(|| {
            let board = (self.boards.open)(&self.bytes)?;
            let card = board.card(middle, &work.cards[middle].id)?;
            Ok((board, card))
        })?;
        self.open_ms.push(took.as_secs_f64() * 1e3);
        ensure!(
            card == work.cards[middle],
            "the opened card is {card:?}, expected {:?}",
            work.cards[middle]
        );
        drop(board);
        if let Some(open_backend) = self.open_backend {
            let (document, took) = timed(|| open_backend(&self.bytes))?;
            self.backend_ms.push(took.as_secs_f64() * 1e3);
            drop(document);
        }
        Ok(())
    }

    /// Adds the medians.
    fn report(self, report: &mut Report) {
        for (metric, mut millis) in [("open", self.open_ms), ("open_backend", self.backend_ms)] {
            millis.sort_by(f64::total_cmp);
            if let Some(median) = millis.get(millis.len() / 2) {
                report.add(self.place, metric, *median, "ms");
            }
        }
    }
}
