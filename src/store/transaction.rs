//! Changes of which more is said or asked than what they do.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::layers::Report;
use super::{Meta, Origin, Store};
use crate::document::backend::Backend;
use crate::document::key;
use crate::state::{AsPath, ChangeError, Edit, Node, Stage, State};

/// Paths that a store remembers of its last commits and imports, to say what has changed since a
/// [`Snapshot`].
const RECENT_PATHS_MAX: usize = 4_096;

/// Where a store stood at some time: what a later change can rely on.
#[derive(Debug)]
pub struct Snapshot<S> {
    /// Of which store.
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
    /// The state then.
    #[must_use]
    pub fn view(&self) -> &Arc<S> {
        &self.view
    }
}

/// What the last commits and imports touched, as long as there is a [`Snapshot`] to compare it with.
#[derive(Default)]
pub(super) struct Recent {
    /// Tells stores apart.
    id: Arc<()>,
    /// Commits and imports so far.
    number: u64,
    /// The last of them, the newest last.
    touched: VecDeque<Arc<[Arc<str>]>>,
    paths: usize,
}

impl Recent {
    pub(super) fn add(&mut self, touched: &Arc<[Arc<str>]>) {
        self.number += 1;
        // Only a snapshot holds the id besides, and one is made only while the writer lock is held:
        // nobody can ask what has changed.
        if Arc::strong_count(&self.id) == 1 {
            self.touched = VecDeque::new();
            self.paths = 0;
            return;
        }
        self.paths += touched.len();
        self.touched.push_back(Arc::clone(touched));
        // The newest stays, however much it touched: it is held by those who are told of it too.
        while self.touched.len() > 1
            && (self.paths > RECENT_PATHS_MAX || self.touched.len() > RECENT_PATHS_MAX)
        {
            let Some(oldest) = self.touched.pop_front() else { return };
            self.paths -= oldest.len();
        }
    }

    /// The paths touched since, each once; the whole state where that is too long ago to know, or
    /// was another store.
    fn since(&self, of: &Arc<()>, number: u64) -> BTreeSet<Arc<str>> {
        let count = usize::try_from(self.number.saturating_sub(number)).unwrap_or(usize::MAX);
        let known = self.touched.len().checked_sub(count).filter(|_| Arc::ptr_eq(of, &self.id));
        match known {
            Some(known) => self
                .touched
                .iter()
                .skip(known)
                .flat_map(|touched| touched.iter().cloned())
                .collect(),
            None => BTreeSet::from([Arc::from("")]),
        }
    }
}

/// What a change relies on: nothing at or below these paths, or above them as a whole, may have
/// been touched.
struct Relied {
    of: Arc<()>,
    number: u64,
    path: String,
}

/// A change that is about to be made: what is said about it, and what it relies on. Made by
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
/// let snapshot = store.snapshot();                                  // what a user looks at while deciding
/// store.change(|page| page.title().set("Trip"))?;             // somebody else goes on
/// let book = || store.transaction().relies_on_path(&snapshot, &Page::path().seats());
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
    /// Says who makes the change.
    pub fn author(self, author: impl Into<Arc<str>>) -> Self {
        Self { meta: self.meta.with_author(author), ..self }
    }

    /// Says what the change is, as one would show it beside "Undo".
    pub fn label(self, label: impl Into<Arc<str>>) -> Self {
        Self { meta: self.meta.with_label(label), ..self }
    }

    /// Says what the change belongs to.
    pub fn correlation(self, id: Uuid) -> Self {
        Self { meta: self.meta.with_correlation(id), ..self }
    }

    /// Says when the change was made. Left out, it is when its turn comes, by the store's clock.
    pub fn at(self, time: SystemTime) -> Self {
        Self { meta: self.meta.with_time(time), ..self }
    }

    /// Refuses the change if anything of the state was touched since.
    pub fn relies_on(mut self, snapshot: &Snapshot<S>) -> Self {
        self.relied.push(Relied {
            of: Arc::clone(&snapshot.of),
            number: snapshot.number,
            path: String::new(),
        });
        self
    }

    /// Refuses the change if this place, or anything in it, was touched since, or has come or gone.
    pub fn relies_on_path(mut self, snapshot: &Snapshot<S>, path: &impl AsPath<S>) -> Self {
        self.relied.push(Relied {
            of: Arc::clone(&snapshot.of),
            number: snapshot.number,
            path: path.as_path().as_str().to_owned(),
        });
        self
    }

    /// Makes the change, as [`Store::change`] does.
    ///
    /// # Errors
    /// As [`Store::change`], and [`ChangeError::Stale`] where something was touched that it relies
    /// on.
    pub fn run<R>(
        self,
        edit: impl FnOnce(S::Node<Edit<'_>>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.staged(|stage| edit(stage.root()))
    }

    /// Makes several changes at once, as [`Store::batch`] does.
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
    /// One of the changes: all of it, or, where `edit` returns an error, nothing of it. The others
    /// stay.
    ///
    /// # Errors
    /// What `edit` returned; the first write that could not be made.
    pub fn change<R>(
        &self,
        edit: impl FnOnce(S::Node<Edit<'a>>) -> Result<R, ChangeError>,
    ) -> Result<R, ChangeError> {
        self.state.savepoint(edit)
    }

    /// The state as it is with the changes so far.
    ///
    /// # Errors
    /// None as long as the batch lasts.
    pub fn view(&self) -> Result<S, ChangeError> {
        self.state.value()
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// A change of which more is to be said than what it does: who makes it, what it is called,
    /// what it relies on.
    pub fn transaction(&self) -> Transaction<'_, S, B> {
        Transaction { store: self, meta: Meta::new(), relied: Vec::new() }
    }

    /// Where the store stands now, for a later change to rely on: [`Transaction::relies_on`]. O(1).
    pub fn snapshot(&self) -> Snapshot<S> {
        self.read(|core| Snapshot {
            of: Arc::clone(&core.recent.id),
            number: core.recent.number,
            view: Arc::clone(&core.view),
        })
    }

    /// Makes several changes as one: one transaction, one update, and those who watch are told
    /// once. One that fails is taken back by itself; if `work` returns an error, nothing has
    /// happened at all.
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

    /// The time by the store's clock.
    pub(super) fn now(&self) -> SystemTime {
        self.shared.document.inner().now()
    }
}
