//! Several stores as one: a change in all of them or in none, views from one moment, one watch on
//! all.
//!
//! [`parts`] has the steps for one store, whatever its type. This module has the order of the
//! steps.

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
use parts::{AnyGuard, BegunChange, Member, Step};

pub use parts::Stores;
pub use watch::JointPatch;

/// Several stores as one: made by [`Store::and`], and extended by [`Joint::and`]. Views and
/// accessors come as nested pairs, in the order in which the stores were joined: `(a, b)` for two
/// stores, `((a, b), c)` for three.
///
/// A `Joint` is a handle, as a store is. The stores may differ in type and backend, can still be
/// used one by one, and may be part of any number of other joints.
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
/// let accounts = Store::<Accounts>::new();
/// let journal = Store::<Journal, Automerge>::new();
/// let totals = Store::<Totals>::new();
/// let bank = accounts.and(&journal).and(&totals);
/// let _watch = bank.watch(|patch| {
///     let ((_, journal), totals) = patch.new();
///     assert_eq!(journal.lines.len() as i64, totals.payments);        // never half of a payment
/// });
/// let meta = Meta::new().with_author("Ada").with_label("Pay");
/// bank.change_as(meta, |((accounts, journal), totals)| {
///     accounts.balances().insert("ada", 7)?;
///     journal.lines().push("ada pays 3")?;
///     totals.payments().set(1)
/// })?;
/// let ((accounts, journal), totals) = bank.view();
/// assert_eq!(accounts.balances.get("ada"), Some(&7));
/// assert_eq!((journal.lines.len(), totals.payments), (1, 1));
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
    /// Joins this store and another one, or several others, to change, view and watch them
    /// together. See [`Joint`].
    pub fn and<P: Stores>(&self, other: &P) -> Joint<Self, P> {
        Joint { first: self.clone(), second: other.clone() }
    }
}

impl<X: Stores, Y: Stores> Joint<X, Y> {
    /// Joins these stores and another one, or several others.
    pub fn and<P: Stores>(&self, other: &P) -> Joint<Self, P> {
        Joint { first: self.clone(), second: other.clone() }
    }

    /// The two parts: the first, and the one that was added.
    pub fn parts(&self) -> (&X, &Y) {
        (&self.first, &self.second)
    }

    /// Changes the stores: the whole change is made in all of them, or nothing in any.
    ///
    /// - Each store in which something changes gets a change of its own.
    /// - Watchers are told after all stores show the change.
    /// - All the changes carry one [`Meta::correlation`]: by it watchers and histories see that
    ///   they belong together.
    /// - Peers get the changes one by one, as each document travels by itself.
    /// - Each store's undo manager undoes its own part.
    ///
    /// Use this instead of a change within a change. If two threads change two stores within each
    /// other in opposite order, they wait for each other for ever. This method takes the writer
    /// locks of all stores in one fixed order.
    ///
    /// # Errors
    /// As [`Store::change`], for any of the stores; then nothing has changed in any of them.
    /// [`ChangeError::Nested`] is also returned if one document is there twice (the same store, or
    /// two stores on one document), and, without waiting, inside a change of any of the stores.
    ///
    /// If the backend of one store fails, the change is reverted in the documents that it was
    /// written to before. No view has shown it, but peers get it together with its revert.
    pub fn change<R>(
        &self,
        edit: impl for<'a> FnOnce((X::Edits<'a>, Y::Edits<'a>)) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.change_as(Meta::new(), edit)
    }

    /// As [`Joint::change`], with meta that all the changes carry: author, label and more. A
    /// correlation in `meta` stays; otherwise the changes get one. If `meta` has no time, the first
    /// store's clock gives it.
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
        // This is checked before the thread waits for any lock: inside a change of one of the
        // stores, it would wait for the other writer locks while it holds that one.
        if order.windows(2).any(|pair| pair[0].address() == pair[1].address())
            || order.iter().any(|member| member.is_within())
        {
            return Err(ChangeError::Nested);
        }
        let span = tracing::trace_span!(target: "exostate", "joint change", stores = members.len())
            .entered();
        let mut starts: Vec<BegunChange> = members.iter().map(|member| member.begin()).collect();
        let locks: Vec<_> = order.iter().map(|member| member.lock_writer()).collect();
        // This thread holds every writer lock, so it gets each again without waiting.
        let mut steps = turns(&members)?;
        let meta = if meta.time().is_none() { meta.with_time(members[0].now()) } else { meta };
        if let Err(error) = begin_change(&mut steps, &mut starts, meta) {
            release(steps, locks);
            return Err(error);
        }
        let result = catch_unwind(AssertUnwindSafe(|| {
            let result = stage::<Self, R>(&steps, &mut starts, edit)?;
            write(&mut steps, &mut starts)?;
            steps.iter_mut().for_each(|step| step.record());
            let views: Vec<_> = order.iter().map(|member| member.hold_view()).collect();
            steps.iter_mut().for_each(|step| step.show());
            drop(views);
            Ok(result)
        }));
        release(steps, locks);
        drop(span);
        let told = end(&members, &starts, &result);
        let result = result.unwrap_or_else(|panic| resume_unwind(panic));
        told.unwrap_or_else(|panic| resume_unwind(panic));
        result
    }

    /// The present views of all stores, from one moment: they never show half of a joint change.
    /// Does not wait for changes in progress, and may be called anywhere. O(number of stores).
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

/// The stores in the order in which they were joined.
fn members<J: Stores>(joint: &J) -> Vec<&dyn Member> {
    let mut members = Vec::new();
    joint.members(&mut members);
    members
}

/// The stores in the fixed order in which all threads lock them.
fn in_order<'a>(members: &[&'a dyn Member]) -> Vec<&'a dyn Member> {
    let mut order = members.to_vec();
    order.sort_by_key(|member| member.address());
    order
}

type Steps<'a> = Vec<Box<dyn Step + 'a>>;

/// Begins a turn in every store.
fn turns<'a>(members: &[&'a dyn Member]) -> Result<Steps<'a>, ChangeError> {
    members.iter().map(|member| member.turn().ok_or(ChangeError::Nested)).collect()
}

/// Ends all turns and releases all locks. After that it drops the data of the turns, because their
/// drop may call any code.
fn release(steps: Steps<'_>, locks: Vec<Box<dyn AnyGuard + '_>>) {
    let ended: Vec<_> = steps.into_iter().map(|step| step.end()).collect();
    drop(locks);
    drop(ended);
}

/// Begins the change in every store. This may show imported updates. If another store then fails to
/// begin, watchers are told of those updates at the next delivery of their store.
fn begin_change(
    steps: &mut Steps<'_>,
    starts: &mut [BegunChange],
    mut meta: Meta,
) -> Result<(), ChangeError> {
    let mut hash = Xxh3::new();
    for (step, start) in steps.iter_mut().zip(starts.iter_mut()) {
        step.begin_change(start)?;
        hash.update(&step.state_bytes());
    }
    if meta.correlation().is_none() {
        // The correlation is a hash of the replica ids and commit counts of all stores. The stores
        // never had this state before, and once something is written they never have it again.
        meta = meta.with_correlation(
            Builder::from_custom_bytes(hash.digest128().to_be_bytes()).into_uuid(),
        );
    }
    let meta = Arc::new(meta);
    starts.iter_mut().for_each(|start| start.report.meta = Some(Arc::clone(&meta)));
    Ok(())
}

/// Runs the closure on one stage per store, and asks all layers that may refuse the staged ops.
fn stage<J: Stores, R>(
    steps: &Steps<'_>,
    starts: &mut [BegunChange],
    edit: impl for<'a> FnOnce(J::Edits<'a>) -> Result<R, ChangeError>,
) -> Result<R, ChangeError> {
    let bases: Vec<_> = steps.iter().map(|step| step.stage_base()).collect();
    let stages: Vec<_> = bases.iter().map(|base| base.stage()).collect();
    let edits = J::edits(&mut stages.iter().map(|stage| stage.state()));
    let result = edit(edits.ok_or(ChangeError::Nested)?)?;
    for (stage, start) in stages.into_iter().zip(starts) {
        stage.finish(start)?;
    }
    Ok(result)
}

/// Writes into every document, or into none.
fn write(steps: &mut Steps<'_>, starts: &mut [BegunChange]) -> Result<(), ChangeError> {
    steps.iter().try_for_each(|step| step.reserve())?;
    for at in 0..steps.len() {
        if let Err(error) = steps[at].write(&mut starts[at]) {
            steps.iter_mut().take(at).for_each(|step| step.revert());
            return Err(error);
        }
    }
    Ok(())
}

/// Tells layers and watchers of every store, outside every lock. A callback that panics does not
/// stop the calls for the other stores. Returns the first panic.
fn end<R>(
    members: &[&dyn Member],
    starts: &[BegunChange],
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
