//! Effects: work outside the state that follows the state, and the cleanup of that work.

use std::collections::BTreeMap;
use std::future::Future;
use std::mem::swap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use parking_lot::Mutex;

use super::slot::{Receiver, Sender, slot};
use super::{Meta, Origin, Patch, Store, Subscription};
use crate::document::backend::Backend;
use crate::state::{AsPath, State};

/// What the closure of an effect returns: nothing, or a cleanup closure that undoes the effect.
pub trait Cleanup {
    /// The cleanup closure, if there is one.
    fn into_cleanup(self) -> Option<Box<dyn FnOnce() + Send>>;
}

impl Cleanup for () {
    fn into_cleanup(self) -> Option<Box<dyn FnOnce() + Send>> {
        None
    }
}

impl<F: FnOnce() + Send + 'static> Cleanup for F {
    fn into_cleanup(self) -> Option<Box<dyn FnOnce() + Send>> {
        Some(Box::new(self))
    }
}

/// The cleanup closures that have not run yet, by path.
#[derive(Default)]
struct Pending(Mutex<BTreeMap<String, Box<dyn FnOnce() + Send>>>);

impl Pending {
    fn run(&self, place: &str) {
        let cleanup = self.0.lock().remove(place);
        if let Some(cleanup) = cleanup {
            cleanup();
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let cleanups = std::mem::take(self.0.get_mut()).into_values();
        // A cleanup that panics does not keep the others from running. If they run because of
        // another panic, its panic is dropped, because a second panic would end the process.
        let panics: Vec<_> =
            cleanups.filter_map(|cleanup| catch_unwind(AssertUnwindSafe(cleanup)).err()).collect();
        if let Some(panic) = panics.into_iter().next().filter(|_| !std::thread::panicking()) {
            resume_unwind(panic);
        }
    }
}

/// What happened to a place, as owned values: see [`Store::effect_async`]. Changes that come before
/// this patch is taken are merged into it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OwnedPatch<T> {
    /// The place's path, as [`Patch::path`].
    pub path: String,
    /// The value before the first of these changes; `None` if there was none.
    pub old: Option<T>,
    /// The value after the last of these changes; `None` if there is none any more.
    pub new: Option<T>,
    /// Where the last change came from.
    pub origin: Origin,
    /// The meta of the last change.
    pub meta: Option<Meta>,
}

impl<S: State, B: Backend> Store<S, B> {
    /// Calls `f` after every commit that touches a place, as [`Store::watch`] does, for work
    /// outside the state. `f` may return a cleanup closure, for example to close what `f` opened.
    /// The cleanup closure is called before `f` is called again for the same place, when the place
    /// is gone, and when the subscription or the store ends.
    ///
    /// ```
    /// use exostate::{Map, State, Store};
    /// # fn open_window(title: String) -> u32 { 1 }
    /// # fn close_window(window: u32) {}
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Desk { windows: Map<String, String> }
    ///
    /// let store = Store::<Desk>::new();
    /// let _effect = store.effect(Desk::path().windows().any(), |window| {
    ///     let opened = window.new().cloned().map(open_window);
    ///     move || opened.into_iter().for_each(close_window)
    /// });
    /// store.change(|desk| desk.windows().insert("main", "Roadmap".to_owned()))?;
    /// # Ok::<(), exostate::Error>(())
    /// ```
    pub fn effect<P, C>(
        &self,
        path: P,
        f: impl Fn(&Patch<'_, P::Target>) -> C + Send + Sync + 'static,
    ) -> Subscription
    where
        P: AsPath<S>,
        C: Cleanup,
    {
        let pending = Pending::default();
        self.watch(path, move |patch| {
            // A cleanup that panics does not keep `f` from being called. Its panic goes on
            // afterwards.
            let cleaned = catch_unwind(AssertUnwindSafe(|| pending.run(patch.path())));
            match (f(patch).into_cleanup(), patch.new()) {
                (Some(cleanup), Some(_)) => {
                    drop(pending.0.lock().insert(patch.path().to_owned(), cleanup))
                }
                (Some(cleanup), None) => cleanup(),
                (None, _) => {}
            }
            cleaned.unwrap_or_else(|panic| resume_unwind(panic));
        })
    }

    /// The effect for asynchronous code: a future that the caller spawns on any runtime, or joins
    /// with others. For every change of the place it runs the future that `f` makes.
    ///
    /// - A newer change of the same place drops the future that still runs for this place.
    /// - Changes of a place that come between two polls are merged into one patch. The patches come
    ///   in the order of their paths. A place that is made and removed between two polls is left
    ///   out.
    /// - The effect ends when the store is gone and the running futures are done, or when it is
    ///   dropped. It does not keep the store alive.
    ///
    /// **Do not save with it:** while a user keeps typing, each change drops the save before it,
    /// and no save is ever finished. For work that must be finished use [`Store::effect_paced`] and
    /// [`ChangeStream::debounce`](crate::ChangeStream::debounce).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), exostate::Error> {
    /// use exostate::{State, Store};
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Search { query: String }
    ///
    /// let store = Store::<Search>::new();
    /// tokio::spawn(store.effect_async(Search::path().query(), |query| async move {
    ///     // A newer query drops this future here.
    ///     tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    ///     println!("looking for {:?}", query.new);
    /// }));
    /// store.change(|search| search.query().set("crdt"))?;
    /// # Ok(()) }
    /// ```
    pub fn effect_async<P, F, Run>(
        &self,
        path: P,
        f: F,
    ) -> impl Future<Output = ()> + Send + use<S, B, P, F, Run>
    where
        P: AsPath<S>,
        F: FnMut(OwnedPatch<P::Target>) -> Run + Send,
        Run: Future<Output = ()> + Send,
    {
        let (sender, receiver) = slot();
        let subscription = self.watch(path, move |patch| send(&sender, patch));
        Effects { receiver, f: Box::new(f), running: BTreeMap::new(), _subscription: subscription }
    }
}

/// The changes that have not been taken yet, by path.
pub(super) type Waiting<T> = BTreeMap<String, OwnedPatch<T>>;

impl<T: Clone> OwnedPatch<T> {
    fn of(patch: &Patch<'_, T>) -> Self {
        let path = patch.path().to_owned();
        let old = patch.old().cloned();
        let new = patch.new().cloned();
        Self { path, old, new, origin: patch.origin(), meta: patch.meta().cloned() }
    }
}

/// Puts a change into the slot, for the future that takes it.
pub(super) fn send<T: Clone>(sender: &Sender<Waiting<T>>, patch: &Patch<'_, T>) {
    let change = OwnedPatch::of(patch);
    sender.send(|waiting| add(waiting, change));
}

/// Merges a change into the waiting changes. The result is to be dropped outside the lock.
fn add<T>(waiting: &mut Waiting<T>, mut change: OwnedPatch<T>) -> [Option<OwnedPatch<T>>; 2] {
    let Some(before) = waiting.get_mut(&change.path) else {
        return [waiting.insert(change.path.clone(), change), None];
    };
    if before.old.is_none() && change.new.is_none() {
        // The place was made and removed again. Without this the map would grow with every such
        // place.
        return [waiting.remove(&change.path), Some(change)];
    }
    swap(&mut before.old, &mut change.old);
    swap(before, &mut change);
    [Some(change), None]
}

struct Effects<T, F, Run> {
    receiver: Receiver<Waiting<T>>,
    f: Box<F>,
    running: BTreeMap<String, Pin<Box<Run>>>,
    _subscription: Subscription,
}

impl<T, F, Run> Future for Effects<T, F, Run>
where
    F: FnMut(OwnedPatch<T>) -> Run,
    Run: Future<Output = ()>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ended = loop {
            let (changes, ended) = self.receiver.poll(cx);
            if changes.is_empty() {
                break ended;
            }
            for (path, change) in changes {
                // The running future is dropped before `f` makes the new one.
                self.running.remove(&path);
                let run = Box::pin((self.f)(change));
                self.running.insert(path, run);
            }
        };
        self.running.retain(|_, run| run.as_mut().poll(cx).is_pending());
        if ended && self.running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T, F, Run> Unpin for Effects<T, F, Run> {}
