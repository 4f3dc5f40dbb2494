//! Watching places of the state.
//!
//! Watchers stand in a tree of path segments, so that a touched path finds its watchers in O(its
//! length + the calls that it causes), however many other watchers there are. It finds:
//!
//! - the watchers at its ancestors and at the path itself,
//! - the watchers below it, because something may have been made, removed or replaced there.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::document::backend::Backend;
use crate::document::key;
use crate::state::{ANY, AsPath, At, State, content, typed};

use super::notify::{Notice, subscription};
use super::{Meta, Origin, Store, Subscription, Update};

/// What a commit did to a watched place of the view.
#[derive(Debug)]
pub struct Patch<'a, T> {
    path: &'a str,
    old: Option<&'a T>,
    new: Option<&'a T>,
    touched: &'a [Arc<str>],
    origin: Origin,
    meta: Option<&'a Meta>,
}

impl<'a, T> Patch<'a, T> {
    /// The path of the place, in the escaped form of `docs/layout.md`. For a watch on any element
    /// it is the path of the element.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The value before the commit; `None` if there was none.
    #[must_use]
    pub fn old(&self) -> Option<&'a T> {
        self.old
    }

    /// The value after the commit; `None` if there is none any more.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "the counterpart of `old`")]
    pub fn new(&self) -> Option<&'a T> {
        self.new
    }

    /// The touched paths at or below the place, relative to the place. The empty path is the place
    /// itself: the place was made, removed or replaced, or a failure left another document and it
    /// is not known what differs.
    pub fn touched(&self) -> impl Iterator<Item = &'a str> {
        let place = self.path;
        self.touched
            .iter()
            .map(move |path| if key::is_within(path, place) { key::below(path, place) } else { "" })
    }

    /// The keys or element ids below the place that were touched, each once: for a `Map`, `Set`,
    /// `MovableList` or `Tree`.
    #[must_use]
    pub fn keys<K: crate::MapKey>(&self) -> Vec<K> {
        let mut segments: Vec<&str> = self
            .touched()
            .map(|path| key::split_first(path).0)
            .filter(|segment| !segment.is_empty())
            .collect();
        segments.dedup();
        segments.into_iter().filter_map(|segment| K::from_text(&key::unescape(segment)?)).collect()
    }

    /// Where the change came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The meta of the change; `None` if it has none, as for remote changes.
    #[must_use]
    pub fn meta(&self) -> Option<&'a Meta> {
        self.meta
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Calls `f` after every commit that changes a place or something in it, until the subscription
    /// is dropped. A write that leaves the value as it was is not told. An import that touches most
    /// of the document tells only what differs.
    ///
    /// - Calls come in commit order, outside every lock; `f` may use the store.
    /// - A watch on `any()` of a collection is called once for each element that was touched.
    /// - Earlier commits are not told, even if other watchers have not been told of them yet.
    /// - Once the subscription is dropped, no call starts. A call that runs on another thread may
    ///   still go on.
    ///
    /// `f` is called by the thread that commits or imports. If edits of a peer come in, this may be
    /// a thread of an async runtime. So `f` should return soon, leave long work to other threads,
    /// and not wait for that runtime (as `blocking_send` does). While calls lag behind, imports
    /// wait; local changes do not.
    ///
    /// ```
    /// use exostate::{Map, State, Store};
    ///
    /// #[derive(State, Clone, Debug)]
    /// struct Board { done: Map<String, bool> }
    ///
    /// let store = Store::<Board>::new();
    /// let _watch = store.watch(Board::path().done().any(), |done| {
    ///     println!("{}: {:?} -> {:?}", done.path(), done.old(), done.new());
    /// });
    /// store.change(|board| board.done().insert("tests", true))?;
    /// # Ok::<(), exostate::Error>(())
    /// ```
    pub fn watch<P: AsPath<S>>(
        &self,
        path: P,
        f: impl Fn(&Patch<'_, P::Target>) + Send + Sync + 'static,
    ) -> Subscription {
        let watcher = move |notice: &Notice<S>, place: &str, touched: &[Arc<str>]| {
            let old = notice.old.locate(At::start(place)).and_then(typed);
            let new = notice.new.locate(At::start(place)).and_then(typed);
            // After a failure it is not known what differs: the values are compared.
            let is_same = || touched.iter().any(|path| path.is_empty()) && is_same(old, new);
            if (old.is_some() || new.is_some()) && !is_same() {
                f(&Patch {
                    path: place,
                    old,
                    new,
                    touched,
                    origin: notice.commit.origin,
                    meta: notice.commit.meta.as_deref(),
                });
            }
        };
        let mut subscribers = self.shared.subscribers.lock();
        let id = subscribers.new_id();
        subscribers.watchers.add(id, path.as_path().as_str(), Arc::new(watcher));
        drop(subscribers);
        subscription(Arc::downgrade(&self.shared.subscribers), id)
    }

    /// Calls `f` with the bytes of every update, made here or applied, in commit order, until the
    /// subscription is dropped.
    pub fn on_update(&self, f: impl Fn(Update<'_>) + Send + Sync + 'static) -> Subscription {
        self.shared.document.on_update(f)
    }

    /// The updates that are made here from the call on, by changes and repairs, in commit order,
    /// for another thread. Updates that are not taken are kept.
    #[must_use]
    pub fn local_updates(&self) -> LocalUpdates {
        let (sender, receiver) = std::sync::mpsc::channel();
        let subscription = self.on_update(move |update| {
            if update.origin != Origin::Remote {
                // This fails only while the receiver is dropped. Then the update is not needed.
                let _ = sender.send(Arc::clone(update.bytes));
            }
        });
        LocalUpdates { receiver, _subscription: subscription }
    }
}

/// The updates made on a store: an iterator that blocks until the next update comes.
#[derive(Debug)]
pub struct LocalUpdates {
    receiver: std::sync::mpsc::Receiver<Arc<[u8]>>,
    _subscription: Subscription,
}

impl LocalUpdates {
    /// The next update, if it has come already.
    #[must_use]
    pub fn try_next(&self) -> Option<Arc<[u8]>> {
        self.receiver.try_recv().ok()
    }
}

impl Iterator for LocalUpdates {
    type Item = Arc<[u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.receiver.recv().ok()
    }
}

/// Whether two values have the same content. O(both).
fn is_same<T: State>(old: Option<&T>, new: Option<&T>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => content(old) == content(new),
        (None, None) => true,
        _ => false,
    }
}

pub(crate) type Watcher<S> = Arc<dyn Fn(&Notice<S>, &str, &[Arc<str>]) + Send + Sync>;

/// One call that a notice causes.
pub(crate) struct Call<S> {
    pub(crate) id: u64,
    pub(crate) watcher: Watcher<S>,
    pub(crate) path: String,
    pub(crate) touched: Vec<Arc<str>>,
}

/// The watchers by path.
pub(crate) struct Watchers<S> {
    root: Branch,
    entries: HashMap<u64, (String, Watcher<S>)>,
}

/// A tree of path segments. Each branch holds the ids of the watchers at its path.
#[derive(Default)]
pub(crate) struct Branch {
    ids: BTreeSet<u64>,
    below: HashMap<Box<str>, Branch>,
}

impl<S> Default for Watchers<S> {
    fn default() -> Self {
        Self { root: Branch::default(), entries: HashMap::new() }
    }
}

impl<S: State> Watchers<S> {
    /// The calls that a notice causes.
    pub(crate) fn calls_of(&self, notice: &Notice<S>) -> Vec<Call<S>> {
        // The elements of a collection, before and after the commit.
        let elements = |place: &str| {
            let path = key::join(place, ANY);
            let elements = RefCell::default();
            for view in [&notice.old, &notice.new] {
                view.locate(At::asking(&path, &elements));
            }
            elements.into_inner().into_iter().collect()
        };
        let mut calls = self.calls(notice.touched(), &elements);
        calls.retain(|call| call.id < notice.number);
        calls
    }
}

impl<S> Watchers<S> {
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.entries.contains_key(&id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn add(&mut self, id: u64, path: &str, watcher: Watcher<S>) {
        self.root.add(path, id);
        self.entries.insert(id, (path.to_owned(), watcher));
    }

    /// Adds a watcher that touched paths do not find: it is called by its id.
    pub(crate) fn add_anywhere(&mut self, id: u64, watcher: Watcher<S>) {
        self.entries.insert(id, (String::new(), watcher));
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The calls to the watchers with these ids.
    pub(crate) fn calls_to(
        &self,
        ids: impl IntoIterator<Item = u64>,
    ) -> impl Iterator<Item = Call<S>> {
        let call = |id| {
            let (path, watcher) = self.entries.get(&id)?;
            Some(Call { id, watcher: Arc::clone(watcher), path: path.clone(), touched: Vec::new() })
        };
        ids.into_iter().filter_map(call)
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Watcher<S>> {
        let (path, watcher) = self.entries.remove(&id)?;
        self.root.remove_at(&path, id);
        Some(watcher)
    }

    /// The calls that touched paths cause, in the order of subscription, then of paths. `elements`
    /// lists the elements of a collection.
    fn calls(
        &self,
        touched: &[Arc<str>],
        elements: &dyn Fn(&str) -> BTreeSet<String>,
    ) -> Vec<Call<S>> {
        let mut found: BTreeMap<(u64, String), Vec<Arc<str>>> = BTreeMap::new();
        for path in touched {
            self.root.find(At::start(path), "", elements, &mut |id, place| {
                found.entry((id, place.to_owned())).or_default().push(Arc::clone(path));
            });
        }
        let call = |((id, path), touched)| {
            let (_, watcher) = self.entries.get(&id)?;
            Some(Call { id, watcher: Arc::clone(watcher), path, touched })
        };
        found.into_iter().filter_map(call).collect()
    }
}

impl Branch {
    pub(crate) fn add(&mut self, path: &str, id: u64) {
        let mut branch = self;
        for segment in key::segments(path) {
            branch = branch.below.entry(segment.into()).or_default();
        }
        branch.ids.insert(id);
    }

    pub(crate) fn remove_at(&mut self, path: &str, id: u64) {
        let segments: Vec<&str> = key::segments(path).collect();
        self.remove(&segments, id);
    }

    /// Finds the watchers that a touched path concerns. `place` is the path of this branch in the
    /// state.
    pub(crate) fn find(
        &self,
        at: At<'_>,
        place: &str,
        elements: &dyn Fn(&str) -> BTreeSet<String>,
        found: &mut impl FnMut(u64, &str),
    ) {
        self.ids.iter().for_each(|id| found(*id, place));
        let Some((segment, rest)) = at.next() else {
            return self.find_below(place, elements, found);
        };
        for name in [segment, ANY] {
            if let Some(branch) = self.below.get(name) {
                branch.find(rest, &key::join(place, segment), elements, found);
            }
        }
    }

    /// Finds the watchers below a touched place. A watcher of any element is found once for each
    /// element.
    #[expect(clippy::iter_over_hash_type, reason = "the caller sorts")]
    fn find_below(
        &self,
        place: &str,
        elements: &dyn Fn(&str) -> BTreeSet<String>,
        found: &mut impl FnMut(u64, &str),
    ) {
        for (name, branch) in &self.below {
            let segments =
                if &**name == ANY { elements(place) } else { BTreeSet::from([name.to_string()]) };
            for segment in segments {
                let place = key::join(place, &segment);
                branch.ids.iter().for_each(|id| found(*id, &place));
                branch.find_below(&place, elements, found);
            }
        }
    }

    /// Removes an id. Returns whether the branch is empty afterwards.
    fn remove(&mut self, segments: &[&str], id: u64) -> bool {
        match segments.split_first() {
            None => drop(self.ids.remove(&id)),
            Some((segment, rest)) => {
                if self.below.get_mut(*segment).is_some_and(|branch| branch.remove(rest, id)) {
                    self.below.remove(*segment);
                }
            }
        }
        self.ids.is_empty() && self.below.is_empty()
    }
}
