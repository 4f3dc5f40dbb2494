//! Effects: what is to be done outside the state when it has changed, and undone when that is over.

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

/// What an effect gives back: nothing, or a closure that undoes it.
pub trait Cleanup {
    /// The closure, if there is one.
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

/// What has to be cleaned up, by place.
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
        // One that panics keeps nothing from the others; nor does it end the process, where they
        // are run because of another panic.
        let panics: Vec<_> =
            cleanups.filter_map(|cleanup| catch_unwind(AssertUnwindSafe(cleanup)).err()).collect();
        if let Some(panic) = panics.into_iter().next().filter(|_| !std::thread::panicking()) {
            resume_unwind(panic);
        }
    }
}

/// What happened to a place, to be kept: see [`Store::effect_async`]. Of several changes that came
/// before anybody looked it is the sum.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OwnedPatch<T> {
    /// The place's path, as [`Patch::path`].
    pub path: String,
    /// The value before; `None` where there was none.
    pub old: Option<T>,
    /// The value now; `None` where there is none any more.
    pub new: Option<T>,
    /// Where the last change came from.
    pub origin: Origin,
    /// What is said about the last change.
    pub meta: Option<Meta>,
}

impl<S: State, B: Backend> Store<S, B> {
    /// Does something outside the state after every commit and import that touches a place, as
    /// [`Store::watch`] does. What `f` gives back is called before it is called again for the
    /// same place, when the place is gone, and when the subscription or the store ends: to
    /// close what it opened.
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
            // What could not be cleaned up keeps nothing from what comes next.
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

    /// The same for asynchronous code: a future to be spawned on whatever runtime there is, or
    /// joined with others. For every change of the place it runs the future that `f` makes; a
    /// newer change of the same place drops that one where it stands. Changes that come
    /// while nobody polls are told as one, in the order of their paths; a place that came and went
    /// meanwhile is not told of. It ends with the store, once what runs then is done, or when
    /// it is dropped; the store is not kept alive by it.
    ///
    /// **Do not save with it:** while somebody goes on typing, each change drops the save before
    /// it, and none is ever finished. What has to be done to its end is for
    /// [`Store::effect_paced`] and [`Changes::debounce`](crate::Changes::debounce).
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
    ///     tokio::time::sleep(std::time::Duration::from_millis(300)).await;    // a newer query ends this one here
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

/// Changes that have not been looked at yet, by place.
pub(super) type Waiting<T> = BTreeMap<String, OwnedPatch<T>>;

impl<T: Clone> OwnedPatch<T> {
    fn of(patch: &Patch<'_, T>) -> Self {
        let path = patch.path().to_owned();
        let old = patch.old().cloned();
        let new = patch.new().cloned();
        Self { path, old, new, origin: patch.origin(), meta: patch.meta().cloned() }
    }
}

/// Leaves a change for a future that takes it.
pub(super) fn send<T: Clone>(sender: &Sender<Waiting<T>>, patch: &Patch<'_, T>) {
    let change = OwnedPatch::of(patch);
    sender.send(|waiting| add(waiting, change));
}

/// Adds a change to what waits. What comes back is to be dropped outside the lock.
fn add<T>(waiting: &mut Waiting<T>, mut change: OwnedPatch<T>) -> [Option<OwnedPatch<T>>; 2] {
    let Some(before) = waiting.get_mut(&change.path) else {
        return [waiting.insert(change.path.clone(), change), None];
    };
    if before.old.is_none() && change.new.is_none() {
        // It came and went: what is not taken must not grow with every place that ever was.
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
        let over = loop {
            let (changes, over) = self.receiver.poll(cx);
            if changes.is_empty() {
                break over;
            }
            for (path, change) in changes {
                // The old one ends before the new one begins.
                self.running.remove(&path);
                let run = Box::pin((self.f)(change));
                self.running.insert(path, run);
            }
        };
        self.running.retain(|_, run| run.as_mut().poll(cx).is_pending());
        if over && self.running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T, F, Run> Unpin for Effects<T, F, Run> {}
