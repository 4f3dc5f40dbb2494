//! Several stores as one: one change in all of them or in none, views that stand side by side, one
//! watch.
//!
//! [`parts`] is what there is to do with one store, whatever its type; here is the order in which
//! it is done.

mod parts;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use uuid::Builder;
use xxhash_rust::xxh3::Xxh3;

use super::commit::error_of;
use super::{Meta, Store};
use crate::document::backend::Backend;
use crate::state::{ChangeError, State};
use parts::{Member, Start, Step};

pub use parts::Stores;
pub use watch::JointPatch;

/// Several stores as one: made by [`Store::and`], and longer by [`Joint::and`]. What they hold
/// comes as nested pairs, in the order in which they were put together: two stores as `(a, b)`,
/// three as `((a, b), c)`.
///
/// It is a handle, as a store is. The stores may differ in type and backend, go on by themselves,
/// and be part of any number of others.
///
/// ```
/// use exostate::{Automerge, List, Map, Meta, State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Accounts { balances: Map<String, i64> }
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Journal { lines: List<String> }
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Totals { payments: i64 }
///
/// let (accounts, journal, totals) = (Store::<Accounts>::new(), Store::<Journal, Automerge>::new(), Store::<Totals>::new());
/// let bank = accounts.and(&journal).and(&totals);
/// let _watch = bank.watch(|patch| {
///     let ((_, journal), totals) = patch.new();
///     assert_eq!(journal.lines.len() as i64, totals.payments);        // never half of a payment
/// });
/// bank.change_as(Meta::new().with_author("Ada").with_label("Pay"), |((accounts, journal), totals)| {
///     accounts.balances().insert("ada", 7)?;
///     journal.lines().push("ada pays 3")?;
///     totals.payments().set(1)
/// })?;
/// let ((accounts, journal), totals) = bank.view();
/// assert_eq!((accounts.balances.get("ada"), journal.lines.len(), totals.payments), (Some(&7), 1, 1));
/// # Ok::<(), exostate::Error>(())
/// ```
#[derive(Clone)]
pub struct Joint<X, Y> {
    first: X,
    second: Y,
}

impl<X, Y> std::fmt::Debug for Joint<X, Y> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joint")
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// This store and another one, or several others, as one: to change them together, to look at
    /// them together, to watch them together. See [`Joint`].
    pub fn and<P: Stores>(&self, other: &P) -> Joint<Self, P> {
        Joint { first: self.clone(), second: other.clone() }
    }
}

impl<X: Stores, Y: Stores> Joint<X, Y> {
    /// These and another store, or several others, as one.
    pub fn and<P: Stores>(&self, other: &P) -> Joint<Self, P> {
        Joint { first: self.clone(), second: other.clone() }
    }

    /// What was put together: the first, and the one that was added.
    pub fn parts(&self) -> (&X, &Y) {
        (&self.first, &self.second)
    }

    /// Changes the stores: all of it in all of them, or nothing in any. Each store in which
    /// something changes gets a change of its own, and those who watch are told once all are
    /// there. The changes carry one [`Meta::correlation`], by which watchers and history see that
    /// they belong together. Peers get them one by one, as each document travels by itself.
    /// Each store's undo manager undoes its own part.
    ///
    /// Use this rather than a change within a change: two threads that change two stores within
    /// each other in opposite order wait for each other for ever; this takes them all in an
    /// order of its own.
    ///
    /// # Errors
    /// As [`Store::change`], for any of them. [`ChangeError::Nested`] also if one document is there
    /// twice (the same store, or two stores on one document), and at once within a change of any of
    /// them. Nothing has happened in any. If the backend of one fails, what was written into those
    /// before it is taken back: no view has shown it, but peers get it together with the way back.
    pub fn change<R>(
        &self,
        edit: impl for<'a> FnOnce((X::Edits<'a>, Y::Edits<'a>)) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.change_as(Meta::new(), edit)
    }

    /// The same, of which more is said: who makes it, what it is called. All the changes carry it.
    /// A correlation that it names stays; else they get one. The time, where it names none, is
    /// by the first store's clock.
    ///
    /// # Errors
    /// As [`Joint::change`].
    pub fn change_as<R>(
        &self,
        meta: Meta,
        edit: impl for<'a> FnOnce((X::Edits<'a>, Y::Edits<'a>)) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        let members = members(self);
        let order = in_order(&members);
        // Found out before anything is waited for: a thread within a change of one of them would
        // wait for the others with that one's place in its hands.
        if order.windows(2).any(|pair| pair[0].address() == pair[1].address())
            || order.iter().any(|member| member.is_within())
        {
            return Err(ChangeError::Nested);
        }
        let span = tracing::trace_span!(target: "exostate", "joint change", stores = members.len())
            .entered();
        let mut starts: Vec<Start> = members.iter().map(|member| member.begin()).collect();
        let places: Vec<_> = order.iter().map(|member| member.take_place()).collect();
        // This thread has every place, so it gets them again without waiting.
        let mut turns = Self::turns(self).ok_or(ChangeError::Nested)?;
        let meta = if meta.time().is_none() { meta.with_time(members[0].now()) } else { meta };
        enter(&mut steps::<Self>(&mut turns), &mut starts, meta)?;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let result = stage::<Self, R>(&turns, &mut starts, edit)?;
            let mut steps = steps::<Self>(&mut turns);
            write(&mut steps, &mut starts)?;
            steps.iter_mut().for_each(|step| step.record());
            let views: Vec<_> = order.iter().map(|member| member.hold_view()).collect();
            steps.iter_mut().for_each(|step| step.show());
            drop(views);
            Ok(result)
        }));
        drop(turns);
        drop(places);
        drop(span);
        let told = end(&members, &starts, &result);
        let result = result.unwrap_or_else(|panic| resume_unwind(panic));
        told.unwrap_or_else(|panic| resume_unwind(panic));
        result
    }

    /// The states now, side by side: all of them were there at one moment, so that no half of a
    /// joint change shows. Waits for no change that is under way, and may be called anywhere.
    /// O(number of stores).
    #[must_use]
    pub fn view(&self) -> (X::Views, Y::Views) {
        let members = members(self);
        let held: Vec<_> =
            in_order(&members).into_iter().map(|member| member.hold_view()).collect();
        let views = self.views();
        drop(held);
        views
    }
}

/// The stores in the order in which they were put together.
fn members<J: Stores>(joint: &J) -> Vec<&dyn Member> {
    let mut members = Vec::new();
    joint.members(&mut members);
    members
}

/// The stores in the one order in which all threads take them.
fn in_order<'a>(members: &[&'a dyn Member]) -> Vec<&'a dyn Member> {
    let mut order = members.to_vec();
    order.sort_by_key(|member| member.address());
    order
}

fn steps<'t, J: Stores>(turns: &'t mut J::Turns<'_>) -> Vec<&'t mut dyn Step> {
    let mut steps = Vec::new();
    J::steps(turns, &mut steps);
    steps
}

/// Begins in every store. What this may have shown of one is told with the next thing that is done
/// there where another one fails.
fn enter(
    steps: &mut [&mut dyn Step],
    starts: &mut [Start],
    mut meta: Meta,
) -> Result<(), ChangeError> {
    let mut hash = Xxh3::new();
    for (step, start) in steps.iter_mut().zip(starts.iter_mut()) {
        step.enter(start)?;
        hash.update(&step.stand());
    }
    if meta.correlation().is_none() {
        // Where the stores stand they never stood before, and if anything is written never will
        // again.
        meta = meta.with_correlation(
            Builder::from_custom_bytes(hash.digest128().to_be_bytes()).into_uuid(),
        );
    }
    let meta = Arc::new(meta);
    starts.iter_mut().for_each(|start| start.report.meta = Some(Arc::clone(&meta)));
    Ok(())
}

/// Runs the closure on a stage a store, and asks all who may refuse what it staged.
fn stage<J: Stores, R>(
    turns: &J::Turns<'_>,
    starts: &mut [Start],
    edit: impl for<'a> FnOnce(J::Edits<'a>) -> Result<R, ChangeError>,
) -> Result<R, ChangeError> {
    let cores = J::cores(turns);
    let stages = J::stages(&cores);
    let result = edit(J::edits(&stages))?;
    J::judge(turns, &cores, stages, &mut starts.iter_mut())?;
    Ok(result)
}

/// Writes into every document, or into none.
fn write(steps: &mut [&mut dyn Step], starts: &mut [Start]) -> Result<(), ChangeError> {
    for at in 0..steps.len() {
        if let Err(error) = steps[at].write(&mut starts[at]) {
            steps.iter_mut().take(at).for_each(|step| step.take_back());
            return Err(error);
        }
    }
    Ok(())
}

/// Tells all, outside every lock. A callback that panics keeps nothing from the other stores; the
/// first panic comes back.
fn end<R>(
    members: &[&dyn Member],
    starts: &[Start],
    result: &std::thread::Result<Result<R, ChangeError>>,
) -> std::thread::Result<()> {
    let mut told = Ok(());
    for (member, start) in members.iter().zip(starts) {
        let one = catch_unwind(AssertUnwindSafe(|| member.end(start, error_of(result))));
        told = told.and(one);
    }
    told
}

#[cfg(test)]
mod tests;
