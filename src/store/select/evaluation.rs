//! The selectors that this thread is computing, and the selectors that they read.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::graph::{Input, Inputs, Moment};

thread_local! {
    static RUNNING: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

struct Frame {
    /// Identifies the store.
    home: usize,
    /// Identifies the selector: its address.
    selector: usize,
    moment: Moment,
    /// The selectors that the closure has read; `None` until the closure runs.
    inputs: Option<Inputs>,
    /// The ids of `inputs`.
    noted: BTreeSet<u64>,
}

/// An evaluation of a selector. It ends when this is dropped.
pub(crate) struct Evaluation(());

impl Evaluation {
    /// Begins an evaluation.
    ///
    /// # Panics
    /// If this thread is already evaluating the selector: the evaluation would never end.
    pub(crate) fn begin(home: usize, selector: usize, moment: &Moment) -> Self {
        RUNNING.with_borrow_mut(|running| {
            assert!(
                running.iter().all(|frame| frame.selector != selector),
                "a selector reads itself"
            );
            running.push(Frame {
                home,
                selector,
                moment: moment.clone(),
                inputs: None,
                noted: BTreeSet::new(),
            });
        });
        Self(())
    }

    /// Runs the closure, which must not unwind. Returns its result and the selectors that it read.
    pub(crate) fn run<R>(self, closure: impl FnOnce() -> R) -> (R, Inputs) {
        with_last(|frame| frame.inputs = Some(Vec::new()));
        let result = closure();
        (result, with_last(|frame| frame.inputs.take()).flatten().unwrap_or_default())
    }
}

impl Drop for Evaluation {
    fn drop(&mut self) {
        // The frame may hold the last handle of the view, so it is dropped outside the borrow.
        let ended = RUNNING.with_borrow_mut(Vec::pop);
        drop(ended);
    }
}

fn with_last<R>(f: impl FnOnce(&mut Frame) -> R) -> Option<R> {
    RUNNING.with_borrow_mut(|running| running.last_mut().map(f))
}

/// The moment of the closure that runs on this thread, if it is one of a selector of this store.
pub(crate) fn current(home: usize) -> Option<Moment> {
    with_last(|frame| (frame.home == home && frame.inputs.is_some()).then(|| frame.moment.clone()))
        .flatten()
}

/// A selector that the running closure reads. When this is dropped, the selector is added to the
/// closure's inputs, with the version that was found.
pub(crate) struct Noted {
    input: Option<Arc<dyn Input>>,
    pub(crate) version: Option<u64>,
}

impl Noted {
    pub(crate) fn new(input: Arc<dyn Input>) -> Self {
        Self { input: Some(input), version: None }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let Some(input) = self.input.take() else { return };
        let again = with_last(|frame| match &mut frame.inputs {
            Some(inputs) if frame.noted.insert(input.id()) => {
                inputs.push((input, self.version));
                None
            }
            _ => Some(input),
        });
        drop(again);
    }
}
