//! Values and effects at a pace: a change is told when the value has come to rest, or at most once
//! in an interval.
//!
//! The engine has no clock: the caller passes a sleep function, such as `tokio::time::sleep`. A
//! change stays in the subscription's slot until it is due. A newer change replaces the older one
//! there, or is merged with it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::Subscription;
use super::effect::{OwnedPatch, Waiting, send};
use super::slot::{Receiver, slot};
use super::{ChangeStream, Store};
use crate::document::backend::Backend;
use crate::state::{AsPath, State};

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;
type Sleep = Box<dyn FnMut(Duration) -> Timer + Send>;

/// When a change is told: see [`ChangeStream::debounce`], [`ChangeStream::throttle`] and
/// [`Store::effect_paced`].
#[must_use = "it says how, and does nothing by itself"]
pub struct Pace {
    sleep: Sleep,
    kind: Kind,
}

enum Kind {
    Debounce {
        delay: Duration,
        max_wait: Duration,
        /// Runs out when the value has been at rest for `delay`.
        quiet: Option<Timer>,
        /// Runs out when `max_wait` is over: then the change is told in any case.
        limit: Option<Timer>,
    },
    Throttle {
        every: Duration,
        /// Runs out when the next change may be told.
        pause: Option<Timer>,
        /// Whether something has changed since the last change was told.
        waits: bool,
    },
}

impl Pace {
    /// A change is told once nothing has changed for `delay`. It is told at the latest `max_wait`
    /// after the first change that has not been told, even if changes keep coming;
    /// [`Duration::MAX`] means no such limit. `sleep` is the function that waits, such as
    /// `tokio::time::sleep`.
    pub fn debounce<F>(
        delay: Duration,
        max_wait: Duration,
        sleep: impl FnMut(Duration) -> F + Send + 'static,
    ) -> Self
    where
        F: Future + Send + 'static,
    {
        Self {
            sleep: boxed(sleep),
            kind: Kind::Debounce { delay, max_wait, quiet: None, limit: None },
        }
    }

    /// The first change is told at once, and from then on at most one change in each `every`. Of
    /// the changes within one interval the newest is told when the interval is over.
    pub fn throttle<F>(every: Duration, sleep: impl FnMut(Duration) -> F + Send + 'static) -> Self
    where
        F: Future + Send + 'static,
    {
        Self { sleep: boxed(sleep), kind: Kind::Throttle { every, pause: None, waits: false } }
    }

    /// Whether the waiting change is due. `changed` says whether there was a change since the last
    /// call.
    fn is_due(&mut self, changed: bool, cx: &mut Context<'_>) -> bool {
        let sleep = &mut self.sleep;
        match &mut self.kind {
            Kind::Debounce { delay, max_wait, quiet, limit } => {
                if changed {
                    *quiet = Some(sleep(*delay));
                    if limit.is_none() && *max_wait < Duration::MAX {
                        *limit = Some(sleep(*max_wait));
                    }
                }
                let due = is_over(quiet, cx) | is_over(limit, cx);
                if due {
                    (*quiet, *limit) = (None, None);
                }
                due
            }
            Kind::Throttle { every, pause, waits } => {
                *waits |= changed;
                if pause.is_some() && !is_over(pause, cx) {
                    return false;
                }
                *pause = waits.then(|| sleep(*every));
                std::mem::take(waits)
            }
        }
    }
}

fn boxed<F: Future + Send + 'static>(
    mut sleep: impl FnMut(Duration) -> F + Send + 'static,
) -> Sleep {
    Box::new(move |duration| {
        let timer = sleep(duration);
        Box::pin(async move { drop(timer.await) })
    })
}

/// Whether a timer has run out. Removes the timer then.
fn is_over(timer: &mut Option<Timer>, cx: &mut Context<'_>) -> bool {
    let over = timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
    if over {
        *timer = None;
    }
    over
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Debounce { delay, max_wait, .. } => f
                .debug_struct("Debounce")
                .field("delay", &delay)
                .field("max_wait", &max_wait)
                .finish(),
            Kind::Throttle { every, .. } => {
                f.debug_struct("Throttle").field("every", &every).finish()
            }
        }
    }
}

/// A slot whose content is taken at a pace.
struct Queue<W> {
    receiver: Receiver<W>,
    pace: Pace,
    /// The number of changes that had been sent at the last look.
    seen: u64,
    _subscription: Subscription,
}

impl<W: Default> Queue<W> {
    /// The content that waits, once it is due, or at once if the store is gone. `None` if the store
    /// is gone and nothing waits. `is_empty` says whether the content holds no change.
    fn poll(&mut self, is_empty: impl Fn(&W) -> bool, cx: &mut Context<'_>) -> Poll<Option<W>> {
        loop {
            let (changes, ended) = self.receiver.watch(cx);
            let changed = std::mem::replace(&mut self.seen, changes) != changes;
            if !ended && !self.pace.is_due(changed, cx) {
                return Poll::Pending;
            }
            let waiting = self.receiver.take();
            match (is_empty(&waiting), ended) {
                (false, _) => return Poll::Ready(Some(waiting)),
                (true, true) => return Poll::Ready(None),
                // The change was taken by `flush`, or its place was made and removed again.
                (true, false) => {}
            }
        }
    }
}

/// A stream of the newest value, at a pace: made by [`ChangeStream::debounce`] and
/// [`ChangeStream::throttle`].
///
/// The waiting value is never lost while this stream exists. It comes when it is due, at once if
/// the store is gone, and with [`Paced::flush`].
#[must_use = "nothing is heard once this is dropped"]
pub struct Paced<T> {
    queue: Queue<Option<T>>,
}

impl<T> ChangeStream<T> {
    /// The newest value, once it has been at rest for `delay`, and at the latest `max_wait` after
    /// the first change that was not told, even if the value keeps changing. For work that follows
    /// a user's typing from time to time, such as saving or searching.
    ///
    /// When the store is gone, the waiting value comes at once, so that the last value is never
    /// missed; [`Paced::flush`] returns it earlier. A change that comes between two polls counts
    /// from the next poll. `sleep` is the function that waits; it may belong to any runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), exostate::Error> {
    /// use exostate::{State, Store};
    /// use std::time::Duration;
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { text: String }
    ///
    /// let store = Store::<Note>::new();
    /// let mut texts = store.stream(Note::path().text()).debounce(
    ///     Duration::from_millis(300),
    ///     Duration::from_secs(5),
    ///     tokio::time::sleep,
    /// );
    /// let saver = tokio::spawn(async move {
    ///     let mut saved = Vec::new();
    ///     while let Some(text) = texts.next().await {
    ///         // Never dropped halfway: the next text comes when this one is saved.
    ///         saved.extend(text);
    ///     }
    ///     saved
    /// });
    /// for text in ["p", "pl", "pla"] {
    ///     store.change(|note| note.text().set(text))?;
    ///     tokio::time::sleep(Duration::from_millis(100)).await;
    /// }
    /// tokio::time::sleep(Duration::from_secs(1)).await;
    /// store.change(|note| note.text().set("plan"))?;
    /// drop(store);
    /// assert_eq!(saver.await.unwrap(), ["pla", "plan"]);
    /// # Ok(()) }
    /// ```
    pub fn debounce<F>(
        self,
        delay: Duration,
        max_wait: Duration,
        sleep: impl FnMut(Duration) -> F + Send + 'static,
    ) -> Paced<T>
    where
        F: Future + Send + 'static,
    {
        self.paced(Pace::debounce(delay, max_wait, sleep))
    }

    /// The newest value, at once and from then on at most once in each `every`. When the store is
    /// gone, the waiting value comes at once. For values that are shown soon but not too often,
    /// such as progress or a preview.
    pub fn throttle<F>(
        self,
        every: Duration,
        sleep: impl FnMut(Duration) -> F + Send + 'static,
    ) -> Paced<T>
    where
        F: Future + Send + 'static,
    {
        self.paced(Pace::throttle(every, sleep))
    }

    fn paced(self, pace: Pace) -> Paced<T> {
        let (receiver, subscription) = self.into_parts();
        Paced { queue: Queue { receiver, pace, seen: 0, _subscription: subscription } }
    }
}

impl<T> Paced<T> {
    /// Waits for the next value; `None` when the store is gone and every value was told. The future
    /// may be dropped while it waits; no value is lost.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Takes the waiting value before it is due: for code that ends before the store does.
    pub fn flush(&mut self) -> Option<T> {
        self.queue.receiver.take()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.queue.poll(Option::is_none, cx).map(Option::flatten)
    }
}

impl<T> Stream for Paced<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll(cx)
    }
}

impl<T> fmt::Debug for Paced<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Paced").field(&self.queue.pace).finish()
    }
}

impl<S: State, B: Backend> Store<S, B> {
    /// Runs a future for each change of a place, at a pace: as [`Store::effect_async`], for work
    /// that must be finished.
    ///
    /// - A newer change never drops a future that has begun.
    /// - Changes that come meanwhile wait and are told afterwards, merged into one patch for each
    ///   place.
    /// - When the store is gone, the waiting changes are told at once, and then the effect ends.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), exostate::Error> {
    /// use exostate::{Map, Pace, State, Store};
    /// use std::time::Duration;
    /// # async fn save(name: String, text: Option<String>) {}
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Notes { pages: Map<String, String> }
    ///
    /// let store = Store::<Notes>::new();
    /// let (quiet, longest) = (Duration::from_millis(500), Duration::from_secs(5));
    /// let pace = Pace::debounce(quiet, longest, tokio::time::sleep);
    /// let pages = Notes::path().pages().any();
    /// let saver =
    ///     tokio::spawn(store.effect_paced(pages, pace, |page| save(page.path, page.new)));
    /// store.change(|notes| notes.pages().insert("plan", "…".to_owned()))?;
    ///
    /// drop(store);                                    // at the end of the application…
    /// saver.await.expect("nothing panicked");         // …the last text is saved too
    /// # Ok(()) }
    /// ```
    pub fn effect_paced<P, F, Run>(
        &self,
        path: P,
        pace: Pace,
        mut f: F,
    ) -> impl Future<Output = ()> + Send + use<S, B, P, F, Run>
    where
        P: AsPath<S>,
        F: FnMut(OwnedPatch<P::Target>) -> Run + Send,
        Run: Future<Output = ()> + Send,
    {
        let (sender, receiver) = slot();
        let subscription = self.watch(path, move |patch| send(&sender, patch));
        let mut queue: Queue<Waiting<P::Target>> =
            Queue { receiver, pace, seen: 0, _subscription: subscription };
        async move {
            while let Some(changes) = poll_fn(|cx| queue.poll(BTreeMap::is_empty, cx)).await {
                for change in changes.into_values() {
                    f(change).await;
                }
            }
        }
    }

    /// The asynchronous [`Store::watch_weak`]: a future that runs one of `f`'s futures for each
    /// change of a place, as long as `target` lives. It does not keep the target alive. The futures
    /// of `f` run one after the other, each to its end. Changes that come meanwhile are told
    /// afterwards, merged into one patch for each place. It ends with the store, or with the first
    /// change after the target is gone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), exostate::Error> {
    /// use exostate::{State, Store};
    /// use std::sync::Arc;
    ///
    /// #[derive(State, Clone, Debug, PartialEq)]
    /// struct Note { title: String, length: u64 }
    /// struct App { store: Store<Note> }
    ///
    /// let app = Arc::new(App { store: Store::new() });
    /// let path = Note::path().title();
    /// let follow = app.store.watch_weak_async(path, &app, |app, title| async move {
    ///     tokio::task::yield_now().await;
    ///     let length = title.new.map_or(0, |title| title.len() as u64);
    ///     app.store.change(|note| note.length().set(length)).expect("a number can be written");
    /// });
    /// let following = tokio::spawn(follow);
    /// app.store.change(|note| note.title().set("plan"))?;
    /// let store = app.store.clone();
    /// drop(app);                                      // the task does not keep the app alive
    /// store.change(|note| note.title().set("nobody counts this"))?;
    /// following.await.expect("nothing panicked");
    /// # Ok(()) }
    /// ```
    pub fn watch_weak_async<P, T, F, Run>(
        &self,
        path: P,
        target: &Arc<T>,
        mut f: F,
    ) -> impl Future<Output = ()> + Send + use<S, B, P, T, F, Run>
    where
        P: AsPath<S>,
        T: Send + Sync + ?Sized + 'static,
        F: FnMut(Arc<T>, OwnedPatch<P::Target>) -> Run + Send,
        Run: Future<Output = ()> + Send,
    {
        let (sender, receiver) = slot::<Waiting<P::Target>>();
        let subscription = self.watch(path, move |patch| send(&sender, patch));
        let target = Arc::downgrade(target);
        async move {
            let _subscription = subscription;
            let next = |cx: &mut Context<'_>| match receiver.poll(cx) {
                (changes, false) if changes.is_empty() => Poll::Pending,
                found => Poll::Ready(found),
            };
            loop {
                let (changes, ended) = poll_fn(next).await;
                for change in changes.into_values() {
                    let Some(target) = target.upgrade() else { return };
                    f(target, change).await;
                }
                if ended {
                    return;
                }
            }
        }
    }
}
