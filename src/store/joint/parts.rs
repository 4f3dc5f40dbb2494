//! The steps of a joint change for one store, and the trait that combines several stores as nested
//! pairs.

use std::cell::{Cell, Ref, RefCell};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use parking_lot::ReentrantMutexGuard;

use super::super::commit::WrittenChange;
use super::super::layers::Report;
use super::super::undo::{Entry, Recording, staged_way_back};
use super::super::{Origin, Store, StoreRef, Subscription, ViewState, WeakStore};
use super::Joint;
use crate::document::backend::Backend;
use crate::document::commit::whole;
use crate::document::doc;
use crate::document::projection::Content;
use crate::document::replica::Replica;
use crate::state::{ChangeError, Edit, Node, Path, Stage, Staged, State};

/// A store, or several joined stores: the parts of a [`Joint`]. No other type can implement it.
pub trait Stores: sealed::Sealed + Clone + Send + Sync + 'static {
    /// What a change edits: a store's accessor, or a pair.
    type Edits<'a>;
    /// The views: a store's view in its `Arc`, or a pair.
    type Views: Clone + Send + Sync + 'static;
    /// A flag for each store: a `bool`, or a pair.
    type Marks;

    /// Weak handles of the stores.
    #[doc(hidden)]
    type Weak: Send + Sync + 'static;
    #[doc(hidden)]
    fn members<'a>(&'a self, members: &mut Vec<&'a dyn Member>);
    /// The accessors for a change, made from the accessors of each store's state in the order of
    /// [`Stores::members`]. `None` if there are too few.
    #[doc(hidden)]
    fn edits<'s>(states: &mut dyn Iterator<Item = Edit<'s>>) -> Option<Self::Edits<'s>>;
    #[doc(hidden)]
    fn views(&self) -> Self::Views;
    /// Which of the views differ, and whether any do.
    #[doc(hidden)]
    fn compare(old: &Self::Views, new: &Self::Views) -> (Self::Marks, bool);
    #[doc(hidden)]
    fn downgrade(&self) -> Self::Weak;
    #[doc(hidden)]
    fn upgrade(weak: &Self::Weak) -> Option<Self>;
}

mod sealed {
    pub trait Sealed {}
}

/// A guard: something that is held until it is dropped.
pub trait AnyGuard {}

impl<T> AnyGuard for T {}

/// The report and the timer of a change in one of the stores.
pub struct BegunChange {
    pub(super) report: Report,
    timer: Option<Instant>,
}

/// A store, whatever its type: what it does outside its turn, before and after a change.
pub trait Member {
    /// The address of its document. It identifies the document and gives the order in which
    /// documents are locked.
    fn address(&self) -> usize;
    /// Whether this thread holds the writer lock already: inside a change of the store, or in a
    /// layer that the change calls.
    fn is_within(&self) -> bool;
    /// Begins a turn. `None` within a change of the store.
    fn turn<'a>(&'a self) -> Option<Box<dyn Step + 'a>>;
    fn now(&self) -> SystemTime;
    fn begin(&self) -> BegunChange;
    /// Takes the writer lock.
    fn lock_writer<'a>(&'a self) -> Box<dyn AnyGuard + 'a>;
    /// Keeps the document's views from being replaced.
    fn hold_view<'a>(&'a self) -> Box<dyn AnyGuard + 'a>;
    fn end(&self, start: &BegunChange, error: Option<&(dyn Error + 'static)>);
    /// Calls `f` after every commit and import.
    fn on_notice(&self, f: Arc<dyn Fn() + Send + Sync>) -> Subscription;
}

/// A store whose writer lock this thread holds.
pub struct Turn<'a, S: State, B: Backend> {
    store: &'a Store<S, B>,
    turn: doc::Turn<'a, B>,
    typed: ReentrantMutexGuard<'a, RefCell<ViewState<S>>>,
    staged: Cell<Option<Staged<S>>>,
    written: Option<WrittenChange<S>>,
}

/// The document and the view from which the stage of a store begins. As long as it exists, other
/// code of this thread cannot change the document.
pub trait StageBase {
    fn stage<'c>(&'c self) -> Box<dyn JointStage + 'c>;
}

/// The stage of a store, whatever its type.
pub trait JointStage {
    /// The accessor of the whole state.
    fn state(&self) -> Edit<'_>;
    /// Checks the staged ops, asks the middleware, and keeps the ops for [`Step::write`].
    fn finish(self: Box<Self>, start: &mut BegunChange) -> Result<(), ChangeError>;
}

struct Base<'a, S: State, B: Backend> {
    store: &'a Store<S, B>,
    replica: Ref<'a, Replica<B>>,
    typed: Ref<'a, ViewState<S>>,
    next_element: &'a AtomicU64,
    staged: &'a Cell<Option<Staged<S>>>,
}

struct TypedStage<'a, S: State, B: Backend> {
    base: &'a Base<'a, S, B>,
    stage: Stage<'a, S>,
}

/// A turn, whatever its store's type.
pub trait Step {
    fn begin_change(&mut self, start: &mut BegunChange) -> Result<(), ChangeError>;
    /// The replica's id and its number of commits, each as eight big-endian bytes.
    fn state_bytes(&self) -> [u8; 16];
    fn stage_base<'t>(&'t self) -> Box<dyn StageBase + 't>;
    /// Asks the document's keeper for room, if anything is staged.
    fn reserve(&self) -> Result<(), ChangeError>;
    fn write(&mut self, start: &mut BegunChange) -> Result<(), ChangeError>;
    /// Reverts what was written, as another document failed. No view has shown it, but it was in
    /// the document: peers get it together with its revert.
    fn revert(&mut self);
    /// Records what was written. May take as long as saving the document.
    fn record(&mut self);
    fn show(&mut self);
    /// Ends the turn. Returns data that must be dropped outside the locks of all stores.
    fn end<'a>(self: Box<Self>) -> Box<dyn AnyGuard + 'a>
    where
        Self: 'a;
}

impl<S: State, B: Backend> Member for Store<S, B> {
    fn address(&self) -> usize {
        self.shared.document.inner().address()
    }

    fn is_within(&self) -> bool {
        self.shared.document.inner().is_within()
    }

    fn turn<'a>(&'a self) -> Option<Box<dyn Step + 'a>> {
        Some(Box::new(Turn {
            store: self,
            turn: doc::Turn::begin(self.shared.document.inner())?,
            typed: self.shared.typed.lock(),
            staged: Cell::default(),
            written: None,
        }))
    }

    fn now(&self) -> SystemTime {
        Store::now(self)
    }

    fn begin(&self) -> BegunChange {
        BegunChange { report: Report::new(Origin::Local, None), timer: self.shared.layers.timer() }
    }

    fn lock_writer<'a>(&'a self) -> Box<dyn AnyGuard + 'a> {
        Box::new(self.shared.document.inner().lock())
    }

    fn hold_view<'a>(&'a self) -> Box<dyn AnyGuard + 'a> {
        Box::new(self.shared.document.inner().delivery.hold_view())
    }

    fn end(&self, start: &BegunChange, error: Option<&(dyn Error + 'static)>) {
        Store::end(self, start.timer, &start.report, error);
    }

    fn on_notice(&self, f: Arc<dyn Fn() + Send + Sync>) -> Subscription {
        self.watch(Node::<Path<S>, S>::new(Path::root()), move |_| f())
    }
}

impl<S: State, B: Backend> StageBase for Base<'_, S, B> {
    fn stage<'c>(&'c self) -> Box<dyn JointStage + 'c> {
        let next_element = self.next_element;
        let ty = self.store.shared.ty();
        let start = StoreRef { replica: &self.replica, typed: &self.typed, next_element, ty };
        Box::new(TypedStage { base: self, stage: start.stage() })
    }
}

impl<S: State, B: Backend> JointStage for TypedStage<'_, S, B> {
    fn state(&self) -> Edit<'_> {
        Edit::root(&self.stage)
    }

    fn finish(self: Box<Self>, start: &mut BegunChange) -> Result<(), ChangeError> {
        let Self { base, stage } = *self;
        let view = &base.typed.view;
        let report = &mut start.report;
        base.staged.set(base.store.check_staged(view, stage, report, &Recording::Joint)?);
        Ok(())
    }
}

impl<S: State, B: Backend> Step for Turn<'_, S, B> {
    fn begin_change(&mut self, start: &mut BegunChange) -> Result<(), ChangeError> {
        self.store.begin_change(&self.turn, &mut start.report)
    }

    fn state_bytes(&self) -> [u8; 16] {
        let id = self.store.replica().get();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&id.to_be_bytes());
        let commits = self.turn.document.commits.load(Ordering::Relaxed);
        bytes[8..].copy_from_slice(&commits.to_be_bytes());
        bytes
    }

    fn stage_base<'t>(&'t self) -> Box<dyn StageBase + 't> {
        Box::new(Base {
            store: self.store,
            replica: self.turn.replica(),
            typed: self.typed.borrow(),
            next_element: &self.turn.document.next_element,
            staged: &self.staged,
        })
    }

    fn reserve(&self) -> Result<(), ChangeError> {
        let staged = self.staged.take();
        let reserved = if staged.is_some() { self.turn.reserve() } else { Ok(()) };
        self.staged.set(staged);
        Ok(reserved?)
    }

    fn write(&mut self, start: &mut BegunChange) -> Result<(), ChangeError> {
        if let Some(staged) = self.staged.take() {
            self.written =
                Some(self.store.write(&self.turn, staged, &Recording::Joint, &mut start.report)?);
        }
        Ok(())
    }

    fn revert(&mut self) {
        if let Some(written) = self.written.take() {
            revert(self.store, &self.turn, written);
        }
    }

    fn record(&mut self) {
        if let Some(written) = &mut self.written {
            self.store.record(&self.turn, written, &Recording::Joint);
        }
    }

    fn show(&mut self) {
        if let Some(written) = self.written.take() {
            self.store.show(&self.turn, written);
        }
    }

    fn end<'a>(self: Box<Self>) -> Box<dyn AnyGuard + 'a>
    where
        Self: 'a,
    {
        let Self { turn, staged, written, .. } = *self;
        Box::new((turn.end(), staged, written))
    }
}

/// Reverts what was written into a store, as the document of another store failed.
fn revert<S: State, B: Backend>(
    store: &Store<S, B>,
    turn: &doc::Turn<'_, B>,
    mut written: WrittenChange<S>,
) {
    let entry = written.entry.take().unwrap_or_default();
    let (view, violations) = (written.view.clone(), written.violations.clone());
    let staged = store.with_ref(turn, |core| {
        let (staged, revived) = staged_way_back(&entry, view, violations, &core);
        let mut tracks = core.tracks.borrow_mut();
        drop(Entry::of(
            &staged.ops,
            (&staged.texts, &staged.lists),
            core.replica,
            &mut tracks,
            revived,
        ));
        staged
    });
    let Some(mut replica) = turn.replica_mut() else { return };
    match replica.commit(&staged.ops, staged.texts, staged.lists) {
        Ok(mut updates) => {
            written.view = staged.view;
            written.violations = staged.violations;
            written.commit.updates.append(&mut updates);
            turn.record(&mut replica, &written.commit);
            // Usually nothing differs from before: each watcher compares.
            written.commit.touch.differing = whole();
            drop(replica);
            // For the other stores on the document, any place may differ.
            store.prepare_others(turn, Content::Unknown, &written.commit.touch);
            store.show(turn, written);
        }
        // Two documents failed at once: the present content is shown.
        Err(_) => {
            // Recorders must be told if the updates of the document do not lead to its present
            // content.
            let _ = turn.take_differs(&mut replica);
            turn.show_rebuilt(&mut replica, written.commit.updates);
        }
    }
}

impl<S: State, B: Backend> sealed::Sealed for Store<S, B> {}

impl<S: State, B: Backend> Stores for Store<S, B> {
    type Edits<'a> = S::Node<Edit<'a>>;
    type Views = Arc<S>;
    type Marks = bool;
    type Weak = WeakStore<S, B>;

    fn members<'a>(&'a self, members: &mut Vec<&'a dyn Member>) {
        members.push(self);
    }

    fn edits<'s>(states: &mut dyn Iterator<Item = Edit<'s>>) -> Option<S::Node<Edit<'s>>> {
        states.next().map(S::node)
    }

    fn views(&self) -> Arc<S> {
        self.view()
    }

    fn compare(old: &Arc<S>, new: &Arc<S>) -> (bool, bool) {
        let differ = !Arc::ptr_eq(old, new);
        (differ, differ)
    }

    fn downgrade(&self) -> Self::Weak {
        Store::downgrade(self)
    }

    fn upgrade(weak: &Self::Weak) -> Option<Self> {
        weak.upgrade()
    }
}

impl<X: Stores, Y: Stores> sealed::Sealed for Joint<X, Y> {}

impl<X: Stores, Y: Stores> Stores for Joint<X, Y> {
    type Edits<'a> = (X::Edits<'a>, Y::Edits<'a>);
    type Views = (X::Views, Y::Views);
    type Marks = (X::Marks, Y::Marks);
    type Weak = (X::Weak, Y::Weak);

    fn members<'a>(&'a self, members: &mut Vec<&'a dyn Member>) {
        self.first.members(members);
        self.second.members(members);
    }

    fn edits<'s>(states: &mut dyn Iterator<Item = Edit<'s>>) -> Option<Self::Edits<'s>> {
        Some((X::edits(states)?, Y::edits(states)?))
    }

    fn views(&self) -> Self::Views {
        (self.first.views(), self.second.views())
    }

    fn compare(old: &Self::Views, new: &Self::Views) -> (Self::Marks, bool) {
        let first = X::compare(&old.0, &new.0);
        let second = Y::compare(&old.1, &new.1);
        ((first.0, second.0), first.1 || second.1)
    }

    fn downgrade(&self) -> Self::Weak {
        (self.first.downgrade(), self.second.downgrade())
    }

    fn upgrade(weak: &Self::Weak) -> Option<Self> {
        Some(Self { first: X::upgrade(&weak.0)?, second: Y::upgrade(&weak.1)? })
    }
}
