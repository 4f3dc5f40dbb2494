//! Which selector is being computed on this thread, and which others it reads meanwhile.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::graph::{Input, Inputs, Moment};

thread_local! {
    static RUNNING: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

struct Frame {
    /// Which store's.
    home: usize,
    /// Which selector's: where it lies.
    selector: usize,
    moment: Moment,
    /// What was read, once the closure runs.
    inputs: Option<Inputs>,
    noted: BTreeSet<u64>,
}

/// The evaluation of a selector, until this is dropped.
pub(crate) struct Evaluation(());

impl Evaluation {
    /// Begins one.
    ///
    /// # Panics
    /// Where this thread is evaluating the selector already: it would never end.
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

    /// Runs the closure, which must not unwind. What it gave, and the selectors that it read.
    pub(crate) fn run<R>(self, closure: impl FnOnce() -> R) -> (R, Inputs) {
        with_last(|frame| frame.inputs = Some(Vec::new()));
        let result = closure();
        (result, with_last(|frame| frame.inputs.take()).flatten().unwrap_or_default())
    }
}

impl Drop for Evaluation {
    fn drop(&mut self) {
        // The view may go with it, outside the borrow.
        let ended = RUNNING.with_borrow_mut(Vec::pop);
        drop(ended);
    }
}

fn with_last<R>(f: impl FnOnce(&mut Frame) -> R) -> Option<R> {
    RUNNING.with_borrow_mut(|running| running.last_mut().map(f))
}

/// The moment at which a closure of the same store's selector runs on this thread, if one does.
pub(crate) fn current(home: usize) -> Option<Moment> {
    with_last(|frame| (frame.home == home && frame.inputs.is_some()).then(|| frame.moment.clone()))
        .flatten()
}

/// A selector that the running closure reads: when this is dropped, it is noted, with the version
/// that was found.
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
