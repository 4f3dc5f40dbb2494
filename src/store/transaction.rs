//! Changes that carry a meta or conditions, snapshots, and batches.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::layers::Report;
use super::{Meta, Origin, Store};
use crate::document::backend::Backend;
use crate::document::key;
use crate::state::{AsPath, ChangeError, Edit, Node, Stage, State};

/// How many paths of its last commits a store remembers at most, to say what has changed since a
/// [`Snapshot`].
const RECENT_PATHS_MAX: usize = 4_096;

/// The state of a store at some time. A later change can rely on it.
#[derive(Debug)]
pub struct Snapshot<S> {
    /// The id of the store.
    of: Arc<()>,
    number: u64,
    view: Arc<S>,
}

impl<S> Clone for Snapshot<S> {
    fn clone(&self) -> Self {
        Self { of: Arc::clone(&self.of), number: self.number, view: Arc::clone(&self.view) }
    }
}

impl<S> Snapshot<S> {
    /// The state at that time.
    #[must_use]
    pub fn view(&self) -> &Arc<S> {
        &self.view
    }
}

/// The paths that the last commits touched, as long as there is a [`Snapshot`] to compare with.
#[derive(Default)]
pub(super) struct Recent {
    /// The identity of the store: two ids are compared by address.
    id: Arc<()>,
    /// The number of commits so far.
    number: u64,
    /// The paths of the last commits, one entry for each commit, the newest last.
    touched: VecDeque<Arc<[Arc<str>]>>,
    paths: usize,
}

impl Recent {
    pub(super) fn add(&mut self, touched: &Arc<[Arc<str>]>) {
        self.number += 1;
        // Only snapshots hold another handle of the id, and a snapshot is made only under the
        // writer lock. So there is no snapshot here, and the paths are not needed.
        if Arc::strong_count(&self.id) == 1 {
            self.touched = VecDeque::new();
            self.paths = 0;
            return;
        }
        self.paths += touched.len();
        self.touched.push_back(Arc::clone(touched));
        // The newest entry stays, however many paths it has: the commit that watchers are told of
        // holds the same paths.
        while self.touched.len() > 1
            && (self.paths > RECENT_PATHS_MAX || self.touched.len() > RECENT_PATHS_MAX)
        {
            let Some(oldest) = self.touched.pop_front() else { return };
            self.paths -= oldest.len();
        }
    }

    /// The paths touched since commit `number`, each once. The path of the whole state if the store
    /// no longer remembers all commits since then, or if the snapshot is of another store.
    fn since(&self, of: &Arc<()>, number: u64) -> BTreeSet<Arc<str>> {
        let count = usize::try_from(self.number.saturating_sub(number)).unwrap_or(usize::MAX);
        let skipped = self.touched.len().checked_sub(count).filter(|_| Arc::ptr_eq(of, &self.id));
        match skipped {
            Some(skipped) => self
                .touched
                .iter()
                .skip(skipped)
                .flat_map(|touched| touched.iter().cloned())
                .collect(),
            None => BTreeSet::from([Arc::from("")]),
        }
    }
}

/// A condition of a change: since the snapshot no commit has touched the path, a place below it, or
/// a place above it as a whole.
struct Relied {
    of: Arc<()>,
    number: u64,
    path: String,
}

/// A change that is about to be made, with its meta and what it relies on. Made by
/// [`Store::transaction`].
///
/// ```
/// use exostate::{ChangeError, State, Store};
///
/// #[derive(State, Clone, Debug, PartialEq)]
/// struct Page { title: String, seats: i64 }
///
/// let store = Store::<Page>::new();
/// store.transaction().author("Ada").label("Open the list").run(|page| page.seats().set(3))?;
///
/// // The snapshot is what the user sees while deciding. Another user makes a change.
/// let snapshot = store.snapshot();
/// store.change(|page| page.title().set("Trip"))?;
/// let book = || store.transaction().relies_on_path(&snapshot, Page::path().seats());
/// book().run(|page| page.seats().set(snapshot.view().seats - 1))?;
/// let again = book().run(|page| page.seats().set(snapshot.view().seats - 1));
/// assert!(matches!(again, Err(ChangeError::Stale { changed }) if changed == ["seats"]));
/// # Ok::<(), exostate::Error>(())
/// ```
#[must_use = "nothing happens before `run`"]
pub struct Transaction<'a, S: State, B: Backend> {
    store: &'a Store<S, B>,
    meta: Meta,
    relied: Vec<Relied>,
}

impl<S: State, B: Backend> std::fmt::Debug for Transaction<'_, S, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl<S: State, B: Backend> Transaction<'_, S, B> {
    /// Sets the author of the change.
    pub fn author(self, author: impl Into<Arc<str>>) -> Self {
        Self { meta: self.meta.with_author(author), ..self }
    }

    /// Sets the label of the change, as an application shows it beside "Undo".
    pub fn label(self, label: impl Into<Arc<str>>) -> Self {
        Self { meta: self.meta.with_label(label), ..self }
    }

    /// Sets what the change belongs to.
    pub fn correlation(self, id: Uuid) -> Self {
        Self { meta: self.meta.with_correlation(id), ..self }
    }

    /// Sets when the change was made. Without it, this is the time at which the turn of the change
    /// begins, by the store's clock.
    pub fn at(self, time: SystemTime) -> Self {
        Self { meta: self.meta.with_time(time), ..self }
    }

    /// Refuses the change if anything in the state was touched since the snapshot.
    pub fn relies_on(mut self, snapshot: &Snapshot<S>) -> Self {
        self.relied.push(Relied {
            of: Arc::clone(&snapshot.of),
            number: snapshot.number,
            path: String::new(),
        });
        self
    }

    /// Refuses the change if this place, or anything in it, was touched since the snapshot, or if
    /// the place was made or removed.
    pub fn relies_on_path(mut self, snapshot: &Snapshot<S>, path: impl AsPath<S>) -> Self {
        self.relied.push(Relied {
            of: Arc::clone(&snapshot.of),
            number: snapshot.number,
            path: path.as_path().as_str().to_owned(),
        });
        self
    }

    /// Runs the change as [`Store::change`] does.
    ///
    /// # Errors
    /// As [`Store::change`], and [`ChangeError::Stale`] if something was touched that the change
    /// relies on.
    pub fn run<R>(
        self,
        edit: impl FnOnce(S::Node<Edit<'_>>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.staged(|stage| edit(stage.root()))
    }

    /// Runs several changes as one, as [`Store::batch`] does.
    ///
    /// # Errors
    /// As [`Transaction::run`].
    pub fn run_batch<R>(
        self,
        work: impl FnOnce(&Batch<'_, S>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.staged(|stage| work(&Batch::on(stage)))
    }

    pub(super) fn staged<R>(
        self,
        edit: impl FnOnce(&Stage<'_, S>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        let Self { store, meta, relied } = self;
        let report = Report { dated: true, ..Report::new(Origin::Local, Some(meta)) };
        store.stage(report, |core| check(&core.recent, &relied), edit)
    }
}

fn check(recent: &Recent, relied: &[Relied]) -> Result<(), ChangeError> {
    let mut changed = BTreeSet::new();
    for Relied { of, number, path } in relied {
        let concerns = |touched: &Arc<str>| key::overlap(touched, path);
        changed.extend(recent.since(of, *number).into_iter().filter(concerns));
    }
    match changed.is_empty() {
        true => Ok(()),
        false => Err(ChangeError::Stale {
            changed: changed.iter().map(|path| path.to_string()).collect(),
        }),
    }
}

/// Several changes that are committed as one: see [`Store::batch`].
pub struct Batch<'a, S> {
    state: Node<Edit<'a>, S>,
}

impl<'a, S: State> Batch<'a, S> {
    fn on(stage: &'a Stage<'_, S>) -> Self {
        Self { state: Node::new(Edit::root(stage)) }
    }
}

impl<S: State> std::fmt::Debug for Batch<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch")
    }
}

impl<'a, S: State> Batch<'a, S> {
    /// Makes one of the changes. If `edit` returns an error, nothing of this change is made; the
    /// other changes of the batch stay.
    ///
    /// # Errors
    /// The error that `edit` returned, or the error of the first write that could not be made.
    pub fn change<R>(
        &self,
        edit: impl FnOnce(S::Node<Edit<'a>>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.state.savepoint(edit)
    }

    /// The state with the changes of the batch so far.
    ///
    /// # Errors
    /// None as long as the batch lasts.
    pub fn view(&self) -> Result<S, ChangeError> {
        self.state.value()
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// A change with more than its edits: an author, a label, or a snapshot that it relies on.
    pub fn transaction(&self) -> Transaction<'_, S, B> {
        Transaction { store: self, meta: Meta::new(), relied: Vec::new() }
    }

    /// A snapshot of the store, which a later change can rely on: [`Transaction::relies_on`]. O(1).
    pub fn snapshot(&self) -> Snapshot<S> {
        self.read(|core| Snapshot {
            of: Arc::clone(&core.recent.id),
            number: core.recent.number,
            view: Arc::clone(&core.view),
        })
    }

    /// Makes several changes as one: one transaction, one update, and watchers are told once. A
    /// change that fails is rolled back by itself. If `work` returns an error, the store stays as
    /// it was.
    ///
    /// ```
    /// use exostate::{List, State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Log { lines: List<String> }
    ///
    /// let store = Store::<Log>::new();
    /// store.batch(|batch| {
    ///     for line in ["one", "two"] {
    ///         batch.change(|log| log.lines().push(line.to_owned()))?;
    ///     }
    ///     assert_eq!(batch.view()?.lines.len(), 2);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), exostate::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::change`].
    pub fn batch<R>(
        &self,
        work: impl FnOnce(&Batch<'_, S>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.stage(Report::new(Origin::Local, None), |_| Ok(()), |stage| work(&Batch::on(stage)))
    }

    /// The current time of the store's clock.
    pub(super) fn now(&self) -> SystemTime {
        self.shared.document.inner().now()
    }
}
